"""The registers of one processor, from the notes that the crash left of it.

Each architecture says where an ``elf_prstatus`` has them (``PrStatus``). The kernel fills only the
pid and the registers of that note.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from ..errors import FormatError
from .notes import NT_PRSTATUS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .notes import Note


class Register(NamedTuple):
    """A register of ``size`` bytes."""

    name: str
    value: int
    size: int


class Group(NamedTuple):
    """Registers of ``size`` bytes each, one behind the other from ``at`` on."""

    at: int
    size: int
    names: tuple[str, ...]

    @property
    def end(self) -> int:
        """One past the last register."""
        return self.at + self.size * len(self.names)


@dataclass(frozen=True, slots=True)
class PrStatus:
    """Where an ``elf_prstatus`` has its pid and its registers."""

    pid: int
    groups: tuple[Group, ...]
    notes: Mapping[int, tuple[Group, ...]] = field(default_factory=dict)  # further notes, by n_type
    has_pid: bool = True  # False: what stands at ``pid`` is a running number, and no task's

    @property
    def end(self) -> int:
        """One past the last register."""
        return max(group.end for group in self.groups)


def numbered(letter: str, count: int) -> tuple[str, ...]:
    """``r0``, ``r1`` ..."""
    return tuple(f"{letter}{i}" for i in range(count))


def narrow(*names: str) -> PrStatus:
    """The layout of 32 bits: struct elf_siginfo, signals, four pids and times, registers."""
    return PrStatus(24, (Group(72, 4, names),))


def wide(*names: str) -> PrStatus:
    """The same of 64 bits."""
    return PrStatus(32, (Group(112, 8, names),))


def registers(status: PrStatus | None, big_endian: bool, desc: bytes) -> list[Register]:
    """The registers of an ``elf_prstatus``, in its order."""
    groups = _checked(status, desc).groups
    return [r for group in groups for r in _numbers(desc, group, big_endian)]


def pid(status: PrStatus | None, big_endian: bool, desc: bytes) -> int:
    """The task that ran there; see ``PrStatus.has_pid``."""
    at = _checked(status, desc).pid
    return int.from_bytes(desc[at : at + 4], "big" if big_endian else "little")


def extra_registers(status: PrStatus | None, note: Note, big_endian: bool) -> list[Register]:
    """The registers of a further note, as many as it holds; none of one that is not known."""
    groups = status.notes.get(note.type, ()) if status else ()
    return [r for group in groups for r in _numbers(note.desc, group, big_endian)]


def as_text(status: PrStatus | None, big_endian: bool, notes: Iterable[Note]) -> str:
    """The notes of one processor: its task's pid, then a register a line; or why there are none."""
    lines: list[str] = []
    for note in notes:
        if note.type == NT_PRSTATUS:
            lines.append(f"{'pid':<10} {pid(status, big_endian, note.desc)}")
            found = registers(status, big_endian, note.desc)
        else:
            found = extra_registers(status, note, big_endian)
        lines += [f"{r.name:<10} {r.value:#0{2 + 2 * r.size}x}" for r in found]
    if not lines:
        lines = ["no registers: the processor was offline, or did not answer when the kernel died"]
    return "".join(f"{line}\n" for line in lines)


def _checked(status: PrStatus | None, desc: bytes) -> PrStatus:
    if status is None:
        raise FormatError("the registers of this machine have no names here")
    if len(desc) < status.end:
        raise FormatError(
            f"a note of {len(desc):#x} bytes has no room for registers to {status.end:#x}"
        )
    return status


def _numbers(desc: bytes, group: Group, big_endian: bool) -> list[Register]:
    """As many of the group as ``desc`` holds."""
    order: Literal["big", "little"] = "big" if big_endian else "little"
    places = range(group.at, len(desc) - group.size + 1, group.size)
    return [
        Register(name, int.from_bytes(desc[place : place + group.size], order), group.size)
        for name, place in zip(group.names, places, strict=False)
    ]
