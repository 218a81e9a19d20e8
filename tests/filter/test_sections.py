# SPDX-License-Identifier: MIT
"""What a scan may cost: bounded by the memory that is there, whatever a hostile image claims."""

from __future__ import annotations

import os
import struct
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from support.budget import cpu_seconds
from support.crash_arch import X86_64
from support.crash_elf import CORE_START, save_core
from support.marked import ANON, dead, run

from oldmemfs.errors import FormatError
from oldmemfs.filter import sections as cut
from oldmemfs.filter.classes import Class
from oldmemfs.filter.filtered import filtered
from oldmemfs.filter.sections import Batch, Section
from oldmemfs.maps.memory import Memory, Run
from oldmemfs.options import Options
from oldmemfs.ranges import Range
from oldmemfs.sources import open_source

if TYPE_CHECKING:
    from pathlib import Path

    from support.crash import Crash

    from oldmemfs.filter.filtered import Filtered

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40
SMALL = X86_64.but("x86_64-48M", ram=((0, 48 * MIB),), image_phys=4 * MIB)


def one_huge_section(crash: Crash) -> None:
    """Say that all memory is one section of 32 TiB; page tables make its struct pages one page."""
    crash.lines |= {
        "NUMBER(SECTION_SIZE_BITS)": "45",
        "NUMBER(MAX_PHYSMEM_BITS)": "46",
        "LENGTH(mem_section)": "1",
    }
    memory, first = crash.memory, X86_64.vmemmap

    def fill(table: int, entry: int, start: int) -> None:
        crash.ram.write(table + 8 * start, struct.pack("<Q", entry) * (512 - start))

    root = crash.machine.image_phys + 0x100000
    table = root
    for shift in (39, 30, 21):
        index = first >> shift & 511
        entry = struct.unpack("<Q", memory.read(table + 8 * index, 8))[0]
        if shift != 39:
            fill(table, entry, index)
        table = entry & 0xFFFFFFFFFF000
    last = struct.unpack("<Q", memory.read(table, 8))[0]
    fill(table, last, 0)


def test_a_section_of_32_tib() -> None:
    """Without its bound 2^27 extents: 9.7 GB after 12 minutes."""
    crash = dead(SMALL, {}, small=True)
    one_huge_section(crash)
    kernel = crash.kernel()
    extents = kernel.extents(X86_64.vmemmap, TIB // 64)
    assert [next(extents) for _ in range(3)] == [(crash.struct_phys(0), 4096)] * 3  # aliased
    tracemalloc.start()
    with cpu_seconds(60):
        found = run(crash)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.classes.kept.pages == 48 * MIB // 4096
    assert found.classes.no_section == 0
    assert peak < 16 * MIB


def test_a_section_is_handed_over_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large section, mapped by pages: never more rows at once than for the last few pages."""
    most = 0
    monkeypatch.setattr(cut, "_BATCH", 100)

    class Watched(Batch):
        def clear(self) -> None:
            nonlocal most
            most = max(most, len(self.rows))
            super().clear()

    monkeypatch.setattr("oldmemfs.filter.classes.Batch", Watched)
    marks = dict.fromkeys(range(0x8000, 0x20000, 7), ANON)
    crash = dead(X86_64, marks, small=True, scatter=True)  # each page of struct pages lies alone
    found = run(crash, 30)
    assert found.classes.counts[Class.USER] == len(marks)
    assert 100 <= most <= 100 + 512 * 64 // 4096


def test_a_block_reaches_over_a_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside a section, a free block is not forgotten where the section is cut."""
    free = {"_mapcount": -129, "private": 10}
    marks = {0x8200 - 16: free, 0x8200: ANON, 0x8201: ANON}
    whole = run(dead(X86_64, marks), 24)
    monkeypatch.setattr(cut, "_BATCH", 1)
    parts = run(dead(X86_64, marks), 24)
    assert whole.classes.counts == parts.classes.counts
    assert parts.classes.counts[Class.USER] == 0
    assert parts.classes.kept.bits == whole.classes.kept.bits


def test_struct_pages_in_too_many_pieces() -> None:
    """Runs of single bytes, as no kernel has them: refused before they take much memory."""
    fd = os.memfd_create("bytes")
    try:
        memory = Memory(tuple(Run(2 * i, 1, fd, 0) for i in range(1 << 17)))
        section = Section(0, 512, lambda _pfn, _pages: [(0, 512 * 512)])
        with pytest.raises(FormatError, match="in more than 65536 pieces"):
            Batch(memory, 512).add(section, Range(0, 512), False)
    finally:
        os.close(fd)


def core(path: Path) -> Filtered:
    """The file's filtered dump."""
    dump = open_source(str(path), Options())
    return filtered(dump.kernel, dump.header, dump.notes, 31)


def test_a_core_that_claims_64_tib(tmp_path: Path) -> None:
    """Of pages that a truncated file does not hold there are no bits, and that is said."""
    crash = dead(X86_64, {0x10000: ANON})
    path = tmp_path / "vmcore"
    end = crash.ranges[-1][1]
    save_core(crash, path, [(CORE_START + end, 0, TIB, 64 * TIB, 64 * TIB)])
    with cpu_seconds(60):
        found = core(path)
    assert found.classes.kept.pages == end >> 12
    assert found.classes.counts[Class.USER] == 1
    assert (
        f"{64 * TIB >> 12} pages of the PT_LOADs are missing in the source, so they are in no "
        "program header of vmcore-kern"
    ) in found.doubts


def test_a_truncated_core(tmp_path: Path) -> None:
    """A page of which the file has a part is kept, in doubt; what is behind it is not there."""
    crash = dead(X86_64, {0x10000: ANON})
    path = tmp_path / "vmcore"
    save_core(crash, path, end=(0x1F000 << 12) + 100)
    found = core(path)
    pages = found.classes.kept.pages
    assert pages - 0x1F000 in range(1, 17)  # up to a page of 64 KiB
    assert found.classes.counts[Class.NO_BYTES] == pages - 0x1F000
    assert f"{0x20000 - pages} pages of the PT_LOADs are missing in the source" in found.report()


def test_a_core_of_zeros_that_are_nowhere(tmp_path: Path) -> None:
    crash = dead(X86_64, {})
    path = tmp_path / "vmcore"
    save_core(crash, path, [(CORE_START, 0, TIB, 0, 64 * TIB)])
    with pytest.raises(FormatError, match="claim 0x400000000000 bytes of zeros"):
        core(path)
    save_core(crash, path, [(CORE_START, 0, GIB, 0, GIB)])
    assert core(path).classes.no_section == GIB >> 12
