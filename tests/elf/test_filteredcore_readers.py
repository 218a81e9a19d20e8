# SPDX-License-Identifier: MIT
"""The file of kept pages: what every program that reads ELF cores asks of it."""

from __future__ import annotations

import shutil
import struct
from typing import TYPE_CHECKING

import pytest
from support import image
from support.mounting import run

from oldmemfs.elf.filteredcore import GAP, MAX_PIECES, FilteredCore, build
from oldmemfs.elf.header import Header, parse_header
from oldmemfs.errors import FormatError
from oldmemfs.maps.pagemask import PageMask
from oldmemfs.maps.plan import Plan
from oldmemfs.ranges import Range

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 4096
LINEAR = 0xFFFF888000000000


def header(*loads: tuple[int, int], bits: int = 64) -> Header:
    """A dump's header of these PT_LOADs, (phys, size) each."""
    segments = [image.Segment(image.LOAD, a, size, vaddr=LINEAR + a) for a, size in loads]
    blob = image.Blob(segments, bits).pack()
    return parse_header(lambda at, size: blob[at : at + size], 0, "a test")


def core(
    pages: int, gone: list[Range], zeros: list[Range] | None = None, start: int = 0, size: int = 0
) -> FilteredCore:
    """Of ``pages`` pages from 0, ``gone`` and ``zeros`` are not kept."""
    kept = PageMask([Range(0, pages)], 12)
    for r in [*gone, *(zeros or [])]:
        for pfn in range(*r):
            kept.bits[pfn // 8] &= ~(1 << pfn % 8)
    notes = image.cpu_note()
    return build(header((start, size or pages * PAGE - start)), notes, kept, zeros or [])


def data_of(made: FilteredCore, memory: bytes) -> bytes:
    return Plan(made.layout, image.memory(memory)).table.read(0, made.layout.size)[0]


def test_gaps_on_both_sides_of_the_limit() -> None:
    for gap, pieces in ((1, 1), (GAP - 1, 1), (GAP, 2), (GAP + 1, 2)):
        made = core(1000, [Range(100, 100 + gap)])
        assert len(made.header.loads) == pieces
        assert made.gap == GAP
        memory = image.pattern(1000 * PAGE)
        data = data_of(made, memory)
        for p in made.header.loads:
            got = data[p.offset : p.offset + p.filesz]
            want = bytearray(memory[p.paddr : p.paddr + p.memsz])
            for pfn in range(100, 100 + gap):
                at = pfn * PAGE - p.paddr
                if 0 <= at < len(want):
                    want[at : at + PAGE] = bytes(PAGE)
            assert got == want


@pytest.mark.parametrize(("start", "size"), [(0x123, 0), (0, 50 * PAGE + 7), (0xFFF, 2)])
def test_a_load_that_ends_inside_a_page(start: int, size: int) -> None:
    """Not a byte more than the PT_LOAD has, at the place in the page that it has in memory."""
    made = core(60, [Range(20, 30)], start=start, size=size)
    memory = image.pattern(60 * PAGE)
    data = data_of(made, memory)
    (piece,) = made.header.loads
    assert (piece.paddr, piece.memsz) == (start, size or 60 * PAGE - start)
    assert piece.offset % PAGE == start % PAGE
    assert piece.vaddr == LINEAR + start
    want = bytearray(memory)
    want[20 * PAGE : 30 * PAGE] = bytes(10 * PAGE)
    assert data[piece.offset : piece.offset + piece.filesz] == want[start : start + piece.memsz]
    assert not any(data[piece.offset + piece.filesz :])


def test_everything_is_gone() -> None:
    made = core(1000, [Range(0, 1000)])
    assert made.header.loads == []
    assert made.layout.size == 2 * PAGE


def test_zeros_have_a_header_and_no_bytes() -> None:
    made = core(2000, [], [Range(500, 900)])
    whole, rest, empty = made.header.loads
    assert [p.filesz == p.memsz for p in (whole, rest)] == [True, True]
    assert (empty.paddr, empty.memsz, empty.filesz) == (500 * PAGE, 400 * PAGE, 0)
    assert empty.vaddr == LINEAR + 500 * PAGE


def test_a_header_without_bytes_leads_to_nothing() -> None:
    """BFD looks for a program where a PT_LOAD is: at 0 it found this file, and its notes again."""
    made = core(3000, [], [Range(500, 900), Range(1000, 1500)])
    data = data_of(made, image.pattern(3000 * PAGE))
    for p in made.header.loads:
        assert data[p.offset : p.offset + 4] != b"\x7fELF"
        assert p.offset + p.filesz <= len(data)
    first = made.header.loads[0]
    assert first.filesz
    assert first.offset == min(p.offset for p in made.header.loads)


@pytest.mark.skipif(not shutil.which("gdb"), reason="no gdb here: apt-get install gdb")
def test_gdb_counts_the_processors_once(tmp_path: Path) -> None:
    made = core(3000, [], [Range(500, 900), Range(1000, 1500)])
    path = tmp_path / "core"
    path.write_bytes(data_of(made, bytes(3000 * PAGE)))
    shown = run("gdb", "-q", "-nx", "-batch", "-c", str(path), "-ex", "info threads").stdout
    assert shown.count("New LWP") == 1, shown


def test_memory_too_scattered_widens_the_gap() -> None:
    kept = PageMask([Range(0, (MAX_PIECES + 10) * 2 * GAP)], 12)
    pattern = b"\xff" * (GAP // 8) + b"\0" * (GAP // 8)
    kept.bits[:] = pattern * (MAX_PIECES + 10)
    made = build(header((0, kept.pages * PAGE)), b"", kept)
    assert made.gap == 2 * GAP
    assert len(made.header.phdrs) < 0xFFFF
    assert "too scattered" in made.remarks[0]


def test_a_virtual_address_that_wraps() -> None:
    """As the kernel's own arithmetic does; and it still is a header that can be written."""
    loads = [image.Segment(image.LOAD, 0, 1000 * PAGE, vaddr=(1 << 64) - PAGE)]
    blob = image.Blob(loads).pack()
    wraps = parse_header(lambda at, size: blob[at : at + size], 0, "a test")
    kept = PageMask([Range(0, 1000)], 12)
    kept.bits[: 400 // 8] = bytes(400 // 8)
    made = build(wraps, b"", kept)
    assert [p.vaddr for p in made.header.loads] == [399 * PAGE]


def test_a_load_many_times_over() -> None:
    kept = PageMask([Range(0, 100)], 12)
    with pytest.raises(FormatError, match="times over"):
        build(header(*[(0, 100 * PAGE)] * 5), b"", kept)


def test_elf32_ends_at_four_gibibytes() -> None:
    small = header((0, 100 * PAGE), bits=32)
    assert build(small, b"", PageMask([Range(0, 100)], 12)).layout.size == 101 * PAGE
    kept = PageMask([Range(0, 1 << 20)], 12)
    with pytest.raises(FormatError, match="ELF32"):
        build(header((0, 0xFFFFF000), bits=32), b"x", kept)


def test_what_the_dumps_kernel_never_read_is_put_right() -> None:
    blob = bytearray(image.Blob([image.Segment(image.LOAD, 0, PAGE)]).pack())
    struct.pack_into("<2Q", blob, 32, 0x1234, 0x5678)  # e_phoff, e_shoff
    struct.pack_into("<3H", blob, 58, 1, 2, 3)
    read = parse_header(lambda at, size: bytes(blob[at : at + size]), 0, "a test")
    packed = build(read, b"", PageMask([Range(0, 1)], 12)).header.pack()
    assert struct.unpack_from("<2Q", packed, 32) == (64, 0)
    assert struct.unpack_from("<3H", packed, 58) == (0, 0, 0)
