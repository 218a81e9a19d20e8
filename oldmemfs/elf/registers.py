# SPDX-License-Identifier: MIT
"""The registers of one processor at the crash, from its ELF notes.

``PrStatus``, of which each architecture has one, says where they are in an ``elf_prstatus`` (the
descriptor of an NT_PRSTATUS note). A crashing kernel fills only the pid and the registers in it.
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
    """A register of ``size`` bytes and its value, unsigned."""

    name: str
    value: int
    size: int


class Group(NamedTuple):
    """Consecutive registers of ``size`` bytes each; the first is at offset ``at``."""

    at: int
    size: int
    names: tuple[str, ...]

    @property
    def end(self) -> int:
        """One past the last register."""
        return self.at + self.size * len(self.names)


@dataclass(frozen=True, slots=True)
class PrStatus:
    """The offsets of the pid and of the registers in an ``elf_prstatus``, in bytes."""

    pid: int
    groups: tuple[Group, ...]
    notes: Mapping[int, tuple[Group, ...]] = field(default_factory=dict)  # further notes, by n_type
    has_pid: bool = True  # False: the value at ``pid`` is a counter, not the pid of a task

    @property
    def end(self) -> int:
        """One past the last register."""
        return max(group.end for group in self.groups)


def numbered(letter: str, count: int) -> tuple[str, ...]:
    """``r0``, ``r1`` ..."""
    return tuple(f"{letter}{i}" for i in range(count))


def narrow(*names: str) -> PrStatus:
    """The layout of 32-bit kernels: elf_siginfo, signals, four pids, four times, registers."""
    return PrStatus(24, (Group(72, 4, names),))


def wide(*names: str) -> PrStatus:
    """The layout of 64-bit kernels: the same members, wider."""
    return PrStatus(32, (Group(112, 8, names),))


def registers(status: PrStatus | None, big_endian: bool, desc: bytes) -> list[Register]:
    """The registers in the ``elf_prstatus`` ``desc``, in its order.

    Raises ``FormatError`` if the architecture's layout is not known or ``desc`` is too short.
    """
    groups = _checked(status, desc).groups
    return [r for group in groups for r in _numbers(desc, group, big_endian)]


def pid(status: PrStatus | None, big_endian: bool, desc: bytes) -> int:
    """The pid of the task that ran on the processor; see ``PrStatus.has_pid``.

    Raises ``FormatError`` as ``registers`` does.
    """
    at = _checked(status, desc).pid
    return int.from_bytes(desc[at : at + 4], "big" if big_endian else "little")


def extra_registers(status: PrStatus | None, note: Note, big_endian: bool) -> list[Register]:
    """The registers in a note after the NT_PRSTATUS; none if its type is not known.

    Of a note that is too short, the registers that it has.
    """
    groups = status.notes.get(note.type, ()) if status else ()
    return [r for group in groups for r in _numbers(note.desc, group, big_endian)]


def as_text(status: PrStatus | None, big_endian: bool, notes: Iterable[Note]) -> str:
    """The pid, then one register per line, of one processor's notes; or why there are none."""
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
        raise FormatError("the layout of this machine's registers is not known")
    if len(desc) < status.end:
        raise FormatError(
            f"NT_PRSTATUS of {len(desc):#x} bytes: too short for registers to {status.end:#x}"
        )
    return status


def _numbers(desc: bytes, group: Group, big_endian: bool) -> list[Register]:
    """The registers of the group that are wholly in ``desc``."""
    order: Literal["big", "little"] = "big" if big_endian else "little"
    places = range(group.at, len(desc) - group.size + 1, group.size)
    return [
        Register(name, int.from_bytes(desc[place : place + group.size], order), group.size)
        for name, place in zip(group.names, places, strict=False)
    ]
