# SPDX-License-Identifier: MIT
"""`vmcore`: the kernel's layout of good headers, worked examples and old flavours."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.catalogs import catalog_of, plan_of, read_all, vmcore
from support.image import (
    HEADER,
    LOAD,
    NOTE,
    NOTES,
    Blob,
    Image,
    Segment,
    cpu_note,
    crashed,
    note,
    vmcore_of,
)

from oldmemfs.elf.header import Header, parse_header
from oldmemfs.elf.procvmcore import Flavour, merge, note_size

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 4096
NOTE_356 = cpu_note() + bytes(12)


def header_of(*segments: Segment, bits: int = 64, machine: int = 62) -> Header:
    blob = Blob(list(segments), bits, machine=machine).pack()
    return parse_header(lambda at, size: blob[at : at + size], 0, "blob")


def test_the_worked_example() -> None:
    """Three CPUs, one of them offline, and three PT_LOADs; computed by hand from vmcore.c."""
    loads = [
        Segment(LOAD, 0x1000000, 0x1E3B5A8),
        Segment(LOAD, 0x3F000000, 0x9EC00, paddr=0),
        Segment(LOAD, 0x100000200, 0x3FFFD00),
    ]
    header = header_of(*[Segment(NOTE, 0, 368)] * 3, Segment(NOTE, 0, 4132), *loads)
    notes = {0: bytes(356), 1: bytes(356), 2: b"", 3: bytes(2372)}
    for page, offsets, size in (
        (4096, (0x1000, 0x2000, 0x1E3E000, 0x1EDD200), 0x5EDD000),
        (65536, (0x10000, 0x20000, 0x1E60000, 0x1F00200), 0x5F00000),
    ):
        merged = merge(header, notes, Flavour(page, 4), "")
        assert [p.offset for p in merged.header.phdrs] == list(offsets)
        assert merged.layout().size == size
        first = merged.header.phdrs[0]
        assert (first.filesz, first.memsz, first.align) == (0xC0C, 0xC0C, 4)
    packed = merge(header, notes, Flavour(4096, 0, packed=True), "")
    assert [p.offset for p in packed.header.phdrs] == [0x120, 0xD2C, 0x1E3C2D4, 0x1EDAED4]
    assert packed.layout().size == 0x5EDABD4


def test_elf32() -> None:
    header = header_of(
        Segment(NOTE, 0, 176), Segment(NOTE, 0, 176),
        Segment(LOAD, 0, 0x9F000), Segment(LOAD, 0x100000, 0x37F00000, vaddr=0xC0100000, flags=5),
        bits=32, machine=3,
    )  # fmt: skip
    merged = merge(header, {0: bytes(164), 1: bytes(164)}, Flavour(4096, 0), "")
    assert [p.offset for p in merged.header.phdrs] == [0x1000, 0x2000, 0xA1000]
    assert merged.layout().size == 939134976
    again = parse_header(lambda at, size: merged.header.pack()[at : at + size], 0, "")
    assert again.phdrs[2].vaddr == 0xC0100000
    assert again.phdrs[2].flags == 5


def test_elf32_above_4_gib_wraps_offsets_and_warns(tmp_path: Path) -> None:
    loads = [Segment(LOAD, 0x10000000, 0xE0000000), Segment(LOAD, 0x10000000, 0x30000000)]
    header = header_of(Segment(NOTE, 0, 12), *loads, bits=32, machine=3)
    merged = merge(header, {0: cpu_note()}, Flavour(4096, 0), "")
    assert merged.layout().size == 0x2000 + 0xE0000000 + 0x30000000
    last = parse_header(lambda at, size: merged.header.pack()[at : at + size], 0, "").phdrs[2]
    assert last.offset == (0x2000 + 0xE0000000) % 2**32
    image = Image().put(NOTES, NOTE_356)
    image.put(HEADER, Blob([Segment(NOTE, NOTES, 368), *loads, loads[0]], 32, machine=3).pack())
    catalog = catalog_of(image.write(tmp_path / "ram"), f"elfcorehdr={HEADER}")
    assert any("p_offset wraps" in w for w in catalog.dump.warnings)


@pytest.mark.parametrize("page", [4096, 65536])
@pytest.mark.parametrize("align", [0, 4])
def test_an_image_gives_what_the_model_gives(tmp_path: Path, page: int, align: int) -> None:
    loads = [
        Segment(LOAD, 0x20000, 0x3210, vaddr=0xFFFFFFFF81000000),
        Segment(LOAD, 0x41000, 0x9000, paddr=0x1000),
        Segment(LOAD, 0x60200, 0x20100),
    ]
    image = crashed(loads)
    got, warnings = vmcore(
        image, tmp_path, f"elfcorehdr={HEADER:#x},page_size={page},note_align={align}"
    )
    assert got == vmcore_of(bytes(image.data), HEADER, page, align)
    assert [("page_size=" in warning) for warning in warnings] == [True] * (page != 4096)


@pytest.mark.parametrize(("release", "align"), [("6.4.99-x", 0), ("6.5.0", 4), ("7.2.1", 4)])
def test_the_version_tells_the_alignment(tmp_path: Path, release: str, align: int) -> None:
    image = crashed([Segment(LOAD, 0x20000, 0x1000)], release=release)
    got, _ = vmcore(image, tmp_path, "")
    assert got == vmcore_of(bytes(image.data), HEADER, PAGE, align)


def test_before_3_11_nothing_is_rounded(tmp_path: Path) -> None:
    image = crashed([Segment(LOAD, 0x20010, 0x1234)], cpus=1, release="2.6.32-x")
    got, _ = vmcore(image, tmp_path, "")
    head = 64 + 2 * 56
    notes = got[head:-0x1234]
    assert notes.startswith(cpu_note())
    assert got[-0x1234:] == image.data[0x20010 : 0x20010 + 0x1234]
    assert struct.unpack_from("<Q", got, 64 + 8) == (head,)
    assert struct.unpack_from("<Q", got, 64 + 56 + 8) == (head + len(notes),)


def test_big_endian_s390x(tmp_path: Path) -> None:
    image = Image().put(NOTES, bytes(400)).put(NOTES, note(b"CORE", 1, bytes(336), big=True))
    segments = [Segment(NOTE, NOTES, 400), Segment(LOAD, 0x20000, 0x4000, align=4096)]
    image.put(HEADER, Blob(segments, big=True, machine=22).pack())
    got, _ = vmcore(image, tmp_path, f"elfcorehdr={HEADER:#x},note_align=0")
    assert got == vmcore_of(bytes(image.data), HEADER)


@pytest.mark.parametrize(
    ("more", "paged", "packed"),
    [
        (struct.pack("<III", 0, 8, 1) + bytes(8) + cpu_note(), 0, 0),  # an empty name ends it
        (struct.pack("<III", 5, 0xFFFFFFFF, 1) + b"CORE\0\0\0\0", 0, 20),  # wraps to no bytes
        (cpu_note()[:-4], 0, 356),  # a word too long for its buffer
        (b"\5\0\0\0\0\0\0\0", 0, 0),  # a few bytes that are no header
    ],
)
def test_where_the_walk_over_notes_ends(more: bytes, paged: int, packed: int) -> None:
    data = cpu_note() + more
    assert note_size(data, big_endian=False, packed=False)[0] == 356 + paged
    assert note_size(data, big_endian=False, packed=True)[0] == 356 + packed
    assert note_size(cpu_note(), big_endian=False, packed=False)[0] == 356


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 0x3FFFF), st.integers(0, 0x3000), st.integers(0, 0x3FFFF)),
        max_size=6,
    ),
    st.integers(0, 3),
    st.sampled_from([1024, 4096, 16384]),
)
def test_any_loads(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: list[tuple[int, int, int]],
    cpus: int,
    page: int,
) -> None:
    loads = [Segment(LOAD, 0x20000 + at, size, paddr=home) for at, size, home in drawn]
    image = crashed(loads, cpus=cpus)
    options = f"elfcorehdr={HEADER:#x},page_size={page},note_align=0"
    got, _ = vmcore(image, tmp_path_factory.mktemp("any"), options)
    assert got == vmcore_of(bytes(image.data), HEADER, page)


def test_oldmem_puts_moved_memory_back(tmp_path: Path) -> None:
    loads = [
        Segment(LOAD, 0x60000, 0x2800, paddr=0x1000),  # moved: 0x1000 lies at 0x60000 now
        Segment(LOAD, 0x20000, 0x8000, vaddr=0xFFFFFFFF81000000),
        Segment(LOAD, 0x20000, 0x10100),
    ]
    image = crashed(loads)
    catalog = catalog_of(image.write(tmp_path / "ram"))
    got, faults = read_all(plan_of(catalog, "oldmem"))
    wanted = bytearray(0x31000)
    wanted[0x20000:] = image.data[0x20000:0x31000]
    wanted[0x1000:0x3800] = image.data[0x60000:0x62800]
    assert (got, faults) == (bytes(wanted), [])


def test_layouts_print_themselves(tmp_path: Path) -> None:
    loads = [Segment(LOAD, 0x60000, 0x2800, paddr=0x1000), Segment(LOAD, 0x20000, 0x10100)]
    catalog = catalog_of(crashed(loads).write(tmp_path / "ram"))
    assert plan_of(catalog, "vmcore").layout.describe() == (
        "0x000000000000           0xe8 bytes                     ELF header\n"
        "0x0000000000e8          0xf18 zero                      padding\n"
        "0x000000001000          0x318 bytes                     notes\n"
        "0x000000001318          0xce8 zero                      padding\n"
        "0x000000002000         0x3000 memory 0x0000000000060000 PT_LOAD\n"
        "0x000000005000        0x11000 memory 0x0000000000020000 PT_LOAD\n"
        "0x000000016000            end\n"
    )
    assert plan_of(catalog, "oldmem").layout.describe() == (
        "0x000000000000         0x1000 zero                      hole\n"
        "0x000000001000         0x2800 memory 0x0000000000001000 memory\n"
        "0x000000003800        0x1c800 zero                      hole\n"
        "0x000000020000        0x11000 memory 0x0000000000020000 memory\n"
        "0x000000031000            end\n"
    )
