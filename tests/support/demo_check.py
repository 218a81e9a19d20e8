# SPDX-License-Identifier: MIT
"""What the demo's mount gave out, held against what the builder of its crash knows.

Each check returns a line that says what it compared, or raises ``Mismatch`` with the first
difference. The ELF file is read here again, by nothing of the package.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from support import demo_log
from support.demo_crash import MIB, SIZE, Kind
from support.image import vmcore_of
from support.marked import PAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.demo_crash import DemoCrash

_PT_LOAD = 1
_NOTE_ALIGN = 4  # p_align of the PT_NOTE of /proc/vmcore since 6.5
_REPORTED = [kind for kind in Kind if kind is not Kind.KERNEL]


class Mismatch(Exception):  # noqa: N818
    """A file is not what it must be."""


class _Load(NamedTuple):
    """A PT_LOAD of a core file."""

    offset: int
    phys: int
    filesz: int
    memsz: int


def check_vmcore(crash: DemoCrash, mount: Path, copies: Path) -> str:
    """The copy of vmcore, byte for byte what the kernel would make of the header."""
    del mount
    expected = vmcore_of(crash.memory.read(0, SIZE), crash.header, align=_NOTE_ALIGN)
    with (copies / "vmcore").open("rb") as file:
        for at in range(0, len(expected), MIB):
            if file.read(MIB) != expected[at : at + MIB]:
                raise Mismatch(f"vmcore: not what it must be from {at:#x} to {at + MIB:#x}")
        if file.read(1):
            raise Mismatch(f"vmcore: longer than {len(expected):#x} bytes")
    return f"vmcore: {len(expected)} bytes, all of them right"


def check_kern(crash: DemoCrash, mount: Path, copies: Path) -> str:
    """The copy of vmcore-kern: each page of the kernel's is there, no byte of any other page."""
    del mount
    seen: set[int] = set()
    with (copies / "vmcore-kern").open("rb") as file:
        for load in _loads(file):
            for at in range(0, load.memsz, PAGE):
                pfn = (load.phys + at) // PAGE
                kept = crash.kinds[pfn] is Kind.KERNEL
                expected = crash.memory.read(pfn * PAGE, PAGE) if kept else bytes(PAGE)
                file.seek(load.offset + at)
                data = file.read(PAGE) if at < load.filesz else bytes(PAGE)
                if data != expected:
                    raise Mismatch(f"vmcore-kern: page {pfn:#x} ({crash.kinds[pfn].value}) differs")
                seen.add(pfn)
    kernel = {pfn for pfn, kind in enumerate(crash.kinds) if kind is Kind.KERNEL}
    zeros = _zeros(crash)
    missing = sorted(kernel - seen - zeros)
    if missing:
        raise Mismatch(f"vmcore-kern: {len(missing)} pages are missing, first {missing[0]:#x}")
    return (
        f"vmcore-kern: all {len(kernel)} pages of the kernel ({len(zeros)} of them are zero), "
        f"no byte of the {len(crash.kinds) - len(kernel)} other pages"
    )


def check_report(crash: DemoCrash, mount: Path, copies: Path) -> str:
    """The numbers of filter-report."""
    del copies
    report = (mount / "filter-report").read_text()
    found = dict(re.findall(r"^ *(\S.*?) *: (0x[0-9a-f]+) ", report, re.MULTILINE))
    zeros = len(_zeros(crash))
    expected = {kind.value: crash.kinds.count(kind) for kind in _REPORTED} | {
        "Pages filled with zero": zeros,
        "Remaining pages": crash.kinds.count(Kind.KERNEL) - zeros,
    }
    for label, count in expected.items():
        if label not in found or int(found[label], 16) != count:
            raise Mismatch(f"filter-report: {label} is {found.get(label)}, and must be {count:#x}")
    return f"filter-report: {len(expected)} numbers, all of them right"


def check_log(crash: DemoCrash, mount: Path, copies: Path) -> str:
    """The text of dmesg."""
    del crash, copies
    if (mount / "dmesg").read_text() != demo_log.text():
        raise Mismatch("dmesg: not what the kernel printed")
    return f"dmesg: {len(demo_log.MESSAGES)} lines, as the kernel printed them"


def check_registers(crash: DemoCrash, mount: Path, copies: Path) -> str:
    """The registers of each CPU, and its task."""
    del copies
    for cpu, (pid, registers) in enumerate(zip(crash.pids, crash.registers, strict=True)):
        lines = (mount / f"cpu/{cpu}/registers").read_text().splitlines()
        found = {name: int(value, 0) for name, value in map(str.split, lines)}
        if found != {"pid": pid} | registers:
            raise Mismatch(f"cpu/{cpu}/registers: not those that the CPU had")
    return f"registers: {len(crash.registers[0])} of each of {len(crash.pids)} CPUs"


CHECKS: tuple[Callable[[DemoCrash, Path, Path], str], ...] = (
    check_vmcore, check_kern, check_report, check_log, check_registers
)  # fmt: skip


def _zeros(crash: DemoCrash) -> set[int]:
    """The kernel's pages that are zero: level 31 leaves them out, too."""
    pages = enumerate(crash.kinds)
    kernel = (pfn for pfn, kind in pages if kind is Kind.KERNEL)
    return {pfn for pfn in kernel if not any(crash.memory.read(pfn * PAGE, PAGE))}


def _loads(file: BinaryIO) -> Iterator[_Load]:
    """The PT_LOADs of a little-endian ELF64 file."""
    head = file.read(64)
    start, count = struct.unpack_from("<Q", head, 32)[0], struct.unpack_from("<H", head, 56)[0]
    for i in range(count):
        file.seek(start + 56 * i)
        kind, _, offset, _, phys, filesz, memsz, _ = struct.unpack("<2I6Q", file.read(56))
        if kind == _PT_LOAD:
            yield _Load(offset, phys, filesz, memsz)
