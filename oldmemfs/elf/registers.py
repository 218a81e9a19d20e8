"""The registers of one processor, from the notes that the crash left of it.

One table an architecture: the names of what an ``elf_prstatus`` holds, in order. The kernel fills
only the pid and the registers of that note.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from ..errors import FormatError
from .notes import NT_PRFPREG, NT_PRSTATUS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .notes import Note

_S390 = 22


class Register(NamedTuple):
    """A register of ``size`` bytes."""

    name: str
    value: int
    size: int


class _Status(NamedTuple):
    """Where an ``elf_prstatus`` has its pid and its registers, and how wide these are."""

    pid: int
    at: int
    size: int
    names: tuple[str, ...]

    @property
    def end(self) -> int:
        """One past the last register."""
        return self.at + self.size * len(self.names)


def _numbered(letter: str, count: int) -> tuple[str, ...]:
    return tuple(f"{letter}{i}" for i in range(count))


def _narrow(*names: str) -> _Status:
    return _Status(24, 72, 4, names)


def _wide(*names: str) -> _Status:
    return _Status(32, 112, 8, names)


_POWER = (
    *_numbered("r", 32), "nip", "msr", "orig_r3", "ctr", "lr", "xer", "cr", "softe", "trap",
    "dar", "dsisr", "result",
)  # fmt: skip
_STATUS = {  # by e_machine
    3: _narrow(  # i386
        "ebx", "ecx", "edx", "esi", "edi", "ebp", "eax", "ds", "es", "fs", "gs", "orig_eax",
        "eip", "cs", "eflags", "esp", "ss",
    ),
    8: _wide(*_numbered("r", 32), "lo", "hi", "epc", "badvaddr", "status", "cause"),  # mips64
    20: _narrow(*("mq" if name == "softe" else name for name in _POWER)),  # ppc
    21: _wide(*_POWER),  # ppc64
    _S390: _wide("pswm", "pswa", *_numbered("r", 16)),
    40: _narrow(*_numbered("r", 11), "fp", "ip", "sp", "lr", "pc", "cpsr", "orig_r0"),  # arm
    50: _wide(  # ia64
        *_numbered("r", 32), "nat", "pr", *_numbered("b", 8), "ip", "cfm", "psr", "rsc", "bsp",
        "bspstore", "rnat", "ccv", "unat", "fpsr", "pfs", "lc", "ec", "csd", "ssd",
    ),
    62: _wide(  # x86_64
        "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx",
        "rsi", "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds",
        "es", "fs", "gs",
    ),
    183: _wide(*_numbered("x", 31), "sp", "pc", "pstate"),  # aarch64
    243: _wide(  # riscv64
        "pc", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", *_numbered("a", 8),
        *(f"s{i}" for i in range(2, 12)), "t3", "t4", "t5", "t6",
    ),
    258: _wide(*_numbered("r", 32), "orig_a0", "era", "badv"),  # loongarch64
}  # fmt: skip
_S390_ACCESS_SIZE = 16 * 4  # access registers follow the others there, and then orig_r2
_S390_NOTES = {  # NT_S390_*: what each holds
    0x301: (8, ("timer",)),
    0x302: (8, ("todcmp",)),
    0x303: (4, ("todpreg",)),
    0x304: (8, _numbered("c", 16)),
    0x305: (4, ("prefix",)),
    0x309: (8, tuple(f"v{i}.low" for i in range(16))),  # their high halves are f0 .. f15
    0x30A: (16, tuple(f"v{i}" for i in range(16, 32))),
}


def registers(machine: int, big_endian: bool, desc: bytes) -> list[Register]:
    """The registers of an ``elf_prstatus``, in its order."""
    status = _status(machine, desc)
    found = _numbers(desc, status.at, status.size, status.names, big_endian)
    if machine == _S390:
        found += _numbers(desc, status.end, 4, _numbered("a", 16), big_endian)
        found += _numbers(desc, status.end + _S390_ACCESS_SIZE, 8, ("orig_r2",), big_endian)
    return found


def pid(machine: int, big_endian: bool, desc: bytes) -> int:
    """The task that ran there; on s390x only a running number."""
    at = _status(machine, desc).pid
    return int.from_bytes(desc[at : at + 4], "big" if big_endian else "little")


def extra_registers(note: Note, big_endian: bool) -> list[Register]:
    """The registers of one of s390x's further notes; none of any other."""
    if note.type == NT_PRFPREG:
        fpc = _numbers(note.desc, 0, 4, ("fpc",), big_endian)
        return fpc + _numbers(note.desc, 8, 8, _numbered("f", 16), big_endian)
    size, names = _S390_NOTES.get(note.type, (0, ()))
    return _numbers(note.desc, 0, size, names, big_endian)


def as_text(machine: int, big_endian: bool, notes: Iterable[Note]) -> str:
    """The notes of one processor: its task's pid, then a register a line; or why there are none."""
    lines: list[str] = []
    for note in notes:
        if note.type == NT_PRSTATUS:
            lines.append(f"{'pid':<10} {pid(machine, big_endian, note.desc)}")
            found = registers(machine, big_endian, note.desc)
        else:
            found = extra_registers(note, big_endian) if machine == _S390 else []
        lines += [f"{r.name:<10} {r.value:#0{2 + 2 * r.size}x}" for r in found]
    if not lines:
        lines = ["no registers: the processor was offline, or did not answer when the kernel died"]
    return "".join(f"{line}\n" for line in lines)


def _status(machine: int, desc: bytes) -> _Status:
    status = _STATUS.get(machine)
    if status is None:
        raise FormatError(f"the registers of machine {machine:#x} have no names here")
    end = status.end + (_S390_ACCESS_SIZE + 8) * (machine == _S390)
    if len(desc) < end:
        raise FormatError(f"a note of {len(desc):#x} bytes has no room for registers to {end:#x}")
    return status


def _numbers(
    desc: bytes, at: int, size: int, names: tuple[str, ...], big_endian: bool
) -> list[Register]:
    """As many of ``names`` as ``desc`` holds."""
    order: Literal["big", "little"] = "big" if big_endian else "little"
    places = range(at, len(desc) - size + 1, size or 1)
    return [
        Register(name, int.from_bytes(desc[place : place + size], order), size)
        for name, place in zip(names, places, strict=False)
    ]
