# SPDX-License-Identifier: MIT
"""The filtered ELF core: pieces, gaps, edges, and what no ELF file can hold."""

from __future__ import annotations

import struct

import pytest

from oldmemfs.elf.filteredcore import GAP, MAX_PIECES, FilteredCore, build
from oldmemfs.elf.header import PT_LOAD, PT_NOTE, Header, Phdr, parse_header
from oldmemfs.errors import FormatError
from oldmemfs.maps.pagemask import PageMask, pages_of
from oldmemfs.ranges import Range

PAGE = 4096
VIRT = 0xFFFF888000000000
EHDR = struct.pack("<4s5B7x2HI3QI6H", b"\x7fELF", 2, 1, 1, 0, 0, 4, 62, 1, 0, 7, 9, 5, 64, 56, 0, 6,
                   7, 8)  # fmt: skip
NOTES = b"notes of any length"


def load(start: int, end: int, virt: int = VIRT) -> Phdr:
    return Phdr(PT_LOAD, 7, 0x123000, virt + start, start, end - start, end - start, 0)


def core(
    loads: list[Phdr], excluded: list[Range], zeros: list[Range] | None = None
) -> FilteredCore:
    header = Header(EHDR, 64, False, 62, (Phdr(PT_NOTE, 0, 0x1000, 0, 0, 9, 9, 4), *loads))
    kept = PageMask(pages_of([Range(p.paddr, p.paddr + p.memsz) for p in loads], 12), 12)
    for gone in [*excluded, *(zeros or [])]:
        kept.clear(gone)
    return build(header, NOTES, kept, zeros or ())


def check(made: FilteredCore) -> list[tuple[int, int]]:
    """What holds for every file; returns the pieces in pages."""
    data = made.header.pack()
    assert parse_header(lambda at, size: data[at : at + size], 0, "it").phdrs == made.header.phdrs
    note, *loads = made.header.phdrs
    assert (note.type, note.filesz, note.memsz) == (PT_NOTE, len(NOTES), len(NOTES))
    first = made.layout.extents[0]
    assert (first.size, first.label) == (len(data), "ELF header")
    assert struct.unpack_from("<QQ", data, 32) == (64, 0)  # e_phoff, e_shoff
    assert struct.unpack_from("<3H", data, 58) == (0, 0, 0)
    end = note.offset + note.filesz
    pieces = []
    for p in loads:
        assert p.type == PT_LOAD
        assert p.vaddr - p.paddr in (VIRT, VIRT // 2)
        if not p.filesz:
            assert p.offset == made.layout.size
            continue
        assert p.filesz == p.memsz
        assert p.offset % PAGE == p.paddr % PAGE
        assert end <= p.offset
        end = p.offset + p.filesz
        pieces.append((p.paddr // PAGE, (p.paddr + p.memsz - 1) // PAGE + 1))
    assert made.layout.size == -(-end // PAGE) * PAGE
    return pieces


@pytest.mark.parametrize("gap", [1, 255, 256, 257])
def test_gaps(gap: int) -> None:
    """Runs of 256 excluded pages part two pieces, at the edges of a PT_LOAD as well as inside."""
    made = core(
        [load(0, 2000 * PAGE)],
        [Range(0, gap), Range(1000, 1000 + gap), Range(2000 - gap, 2000)],
    )
    pieces = check(made)
    if gap < GAP:
        assert pieces == [(gap, 2000 - gap)]
    else:
        assert pieces == [(gap, 1000), (1000 + gap, 2000 - gap)]
    assert made.gap == GAP
    assert not made.remarks


def test_the_file_as_it_is_drawn() -> None:
    """Two pieces, one of which starts inside a page, and a run of zeros."""
    made = core([load(0x800, 0x3000), load(0x400000, 0x600000)], [], [Range(0x500, 0x600)])
    assert made.layout.describe() == (
        "0x000000000000          0x120 bytes                     ELF header\n"
        "0x000000000120          0xee0 zero                      padding\n"
        "0x000000001000           0x13 bytes                     notes\n"
        "0x000000001013          0xfed zero                      padding\n"
        "0x000000002000          0x800 zero                      padding\n"
        "0x000000002800         0x2800 masked 0x0000000000000800 piece 0\n"
        "0x000000005000       0x100000 masked 0x0000000000400000 piece 1\n"
        "0x000000105000            end\n"
    )
    note, first, second, zeros = made.header.phdrs
    assert note == Phdr(PT_NOTE, 0, 0x1000, 0, 0, 19, 19, 4)
    assert first == load(0x800, 0x3000)._replace(offset=0x2800)
    assert second == load(0x400000, 0x500000)._replace(offset=0x5000)
    assert zeros == load(0x500000, 0x600000)._replace(offset=0x105000, filesz=0)


def test_headers_that_fill_their_page() -> None:
    """72 program headers are just a page, with the ELF header; of zeros as of memory."""
    for zeros, notes_at in ((70, 0x1000), (71, 0x2000)):
        runs = [Range(2 * i, 2 * i + 1) for i in range(zeros)]
        made = core([load(0, 1000 * PAGE)], [Range(0, 700)], runs)
        assert len(made.header.phdrs) == zeros + 2
        assert made.header.phdrs[0].offset == notes_at
        assert made.layout.extents[0].size == 64 + 56 * (zeros + 2)


def test_neighbours_in_two_segments() -> None:
    """A page that is kept alone at the start of the next PT_LOAD, or of which one byte is here."""
    made = core([load(0, 100 * PAGE), load(100 * PAGE, 200 * PAGE)], [Range(90, 100)])
    assert check(made) == [(0, 90), (100, 200)]
    made = core([load(0, 99 * PAGE + 1), load(100 * PAGE, 200 * PAGE)], [Range(0, 99)])
    assert check(made) == [(99, 100), (100, 200)]
    assert made.header.loads[0].filesz == 1


def test_everything_kept_or_nothing() -> None:
    assert check(core([load(0, 999 * PAGE)], [])) == [(0, 999)]
    made = core([load(0, 9 * PAGE), load(1 << 20, 2 << 20)], [Range(0, 9)])
    assert check(made) == [(256, 512)]


def test_partial_pages() -> None:
    """The bytes of a PT_LOAD that starts or ends inside a page, at their place in that page."""
    made = core([load(0x1234, 0x9FC00), load(0x100800, 0x101000)], [])
    assert check(made) == [(1, 0xA0), (0x100, 0x101)]
    first, second = made.header.loads
    assert (first.paddr, first.filesz) == (0x1234, 0x9FC00 - 0x1234)
    assert (second.paddr, second.filesz) == (0x100800, 0x800)
    masked = [e for e in made.layout.extents if e.fill.value == "masked"]
    assert [(e.at, e.size, e.offset) for e in masked] == [
        (0x1234, 0x9FC00 - 0x1234, first.offset), (0x100800, 0x800, second.offset),
    ]  # fmt: skip


def test_text_is_in_both_segments() -> None:
    text = load(0x1000000, 0x1400000, VIRT // 2)
    made = core([text, load(0, 0x8000000)], [Range(0x1200, 0x1300)])
    assert check(made) == [
        (0x1000, 0x1200), (0x1300, 0x1400), (0, 0x1200), (0x1300, 0x8000),
    ]  # fmt: skip


def test_zeros_have_a_header_without_bytes() -> None:
    made = core(
        [load(0, 2000 * PAGE), load(4000 * PAGE, 5000 * PAGE)],
        [Range(1000, 1500)],
        [Range(100, 400), Range(4000, 5000)],
    )
    assert check(made) == [(0, 100), (400, 1000), (1500, 2000)]
    empty = [p for p in made.header.loads if not p.filesz]
    assert [(p.paddr // PAGE, p.memsz // PAGE) for p in empty] == [(100, 300), (4000, 1000)]


def test_too_many_pieces() -> None:
    """One page kept in 257: the gap grows until the headers can be counted, and it is said."""
    count = 70_000
    kept = PageMask([Range(0, 257 * count)], 12)
    kept.bits[:] = bytes(len(kept.bits))
    for pfn in range(0, 257 * count, 257):
        kept.bits[pfn // 8] |= 1 << pfn % 8
    made = build(Header(EHDR, 64, False, 62, (load(0, 257 * count * PAGE),)), NOTES, kept)
    assert kept.count() == count
    assert len(check(made)) <= MAX_PIECES
    assert made.gap == 2 * GAP
    (remark,) = made.remarks
    assert remark.endswith("up to 0x1ff excluded pages between them read as zeros")


def test_memory_that_is_there_four_times() -> None:
    """As many PT_LOADs over the same memory as are believed; one page more is not."""
    pages = [load(0, 100 * PAGE) for _ in range(4)]
    assert check(core(pages, [])) == [(0, 100)] * 4
    with pytest.raises(FormatError, match="4 times over"):
        core([*pages, load(0, PAGE)], [])


def test_as_many_pieces_as_an_elf_file_can_have() -> None:
    """65,533 program headers of memory and zeros are laid out as they are; with one more, wider."""
    for more in (0, 1):
        count = MAX_PIECES + more
        kept = PageMask([Range(0, 257 * count)], 12)
        kept.bits[:] = bytes(len(kept.bits))
        for pfn in range(0, 257 * count, 257):
            kept.bits[pfn // 8] |= 1 << pfn % 8
        made = build(Header(EHDR, 64, False, 62, (load(0, 257 * count * PAGE),)), NOTES, kept)
        assert made.gap == (GAP, 2 * GAP)[more]
        assert len(check(made)) == (MAX_PIECES, 1)[more]
    header = Header(EHDR, 64, False, 62, (load(0, 257 * MAX_PIECES * PAGE),))
    kept.bits[:] = bytes(len(kept.bits))
    for pfn in range(0, 257 * MAX_PIECES, 257):
        kept.bits[pfn // 8] |= 1 << pfn % 8
    made = build(header, NOTES, kept, [Range(5, 6)])  # one header is for zeros
    assert made.gap == 2 * GAP


def test_the_largest_file_of_32_bits() -> None:
    """Exactly 4 GiB: its last offset still has 32 bits."""
    most = (1 << 32) - 2 * PAGE  # a page of headers, one of notes
    for size, fits in ((most, True), (most + PAGE, False)):
        header = Header(EHDR[:52], 32, False, 3, (load(0, size, 0),))
        kept = PageMask([Range(0, size // PAGE)], 12)
        if fits:
            assert build(header, NOTES, kept).layout.size == 1 << 32
        else:
            with pytest.raises(FormatError, match="0x100001000 bytes is more than ELF32"):
                build(header, NOTES, kept)


@pytest.mark.parametrize("nowhere", [(1 << 32) - 1, (1 << 64) - 1])
def test_memory_without_an_address(nowhere: int) -> None:
    """Of i386's high memory no piece is given a virtual address."""
    p = load(0, 1000 * PAGE)._replace(vaddr=nowhere)
    header = Header(EHDR, 64, False, 62, (p,))
    kept = PageMask([Range(0, 1000)], 12)
    kept.clear(Range(300, 700))
    made = build(header, NOTES, kept)
    assert [q.vaddr for q in made.header.loads] == [nowhere, nowhere]
    assert [q.paddr for q in made.header.loads] == [0, 700 * PAGE]


def test_a_virtual_address_wraps() -> None:
    """A PT_LOAD at the very end of the address space: a piece behind it is at its start."""
    p = load(0, 1000 * PAGE)._replace(vaddr=2**64 - 700 * PAGE)
    kept = PageMask([Range(0, 1000)], 12)
    kept.clear(Range(300, 700))
    made = build(Header(EHDR, 64, False, 62, (p,)), NOTES, kept)
    assert [q.vaddr for q in made.header.loads] == [2**64 - 700 * PAGE, 0]


def test_zeros_at_the_edges_of_a_segment() -> None:
    """Zero runs of neighbours are not this PT_LOAD's, and one over its border is cut."""
    zeros = [Range(0, 10), Range(10, 30), Range(90, 120), Range(200, 300)]
    loads = [load(10 * PAGE, 100 * PAGE), load(100 * PAGE, 200 * PAGE)]
    made = core(loads, [], zeros)
    empty = [(p.paddr // PAGE, p.memsz // PAGE) for p in made.header.loads if not p.filesz]
    assert empty == [(10, 20), (90, 10), (100, 20)]


def test_a_segment_of_nothing_is_left_out() -> None:
    assert check(core([load(5 * PAGE, 5 * PAGE), load(0, PAGE)], [])) == [(0, 1)]


@pytest.mark.parametrize("big_endian", [False, True])
def test_what_the_header_says_of_itself(big_endian: bool) -> None:
    """The byte order that the header really has, and no section headers."""
    order = ">" if big_endian else "<"
    ehdr = struct.pack(order + "4s5B7x2HI3QI6H", b"\x7fELF", 2, 3, 1, 0, 0, 4, 62, 1, 0, 7, 9, 5,
                       64, 56, 0, 6, 7, 8)  # fmt: skip
    made = build(
        Header(ehdr, 64, big_endian, 62, (load(0, PAGE),)), NOTES, PageMask([Range(0, 1)], 12)
    )
    data = made.header.pack()
    assert data[5] == (2 if big_endian else 1)
    assert struct.unpack_from(order + "QQ", data, 32) == (64, 0)
    assert struct.unpack_from(order + "6H", data, 52) == (64, 56, 2, 0, 0, 0)
    assert data[16:24] == ehdr[16:24]


def test_a_header_of_32_bits() -> None:
    ehdr = struct.pack("<4s5B7x2HI3II6H", b"\x7fELF", 1, 1, 1, 0, 0, 4, 3, 1, 0, 7, 9, 5, 52, 32, 0,
                       6, 7, 8)  # fmt: skip
    made = build(
        Header(ehdr, 32, False, 3, (load(0, PAGE, 0),)), NOTES, PageMask([Range(0, 1)], 12)
    )
    data = made.header.pack()
    assert struct.unpack_from("<III", data, 28) == (52, 0, 5)
    assert struct.unpack_from("<6H", data, 40) == (52, 32, 2, 0, 0, 0)


def test_what_no_file_can_hold() -> None:
    header = Header(EHDR, 64, False, 62, tuple(load(0, PAGE) for _ in range(9)))
    with pytest.raises(FormatError, match="9 times over"):
        build(header, NOTES, PageMask([Range(0, 1)], 12))
    narrow = Header(EHDR[:52], 32, False, 3, (load(0, 1 << 32, 0),))
    with pytest.raises(FormatError, match="more than ELF32 can describe"):
        build(narrow, NOTES, PageMask([Range(0, 1 << 20)], 12))
    pieces = tuple(load(2 * i * PAGE, (2 * i + 1) * PAGE) for i in range(MAX_PIECES + 1))
    kept = PageMask([Range(2 * i, 2 * i + 1) for i in range(MAX_PIECES + 1)], 12)
    with pytest.raises(FormatError, match="65534 pieces of memory"):
        build(Header(EHDR, 64, False, 62, pieces), NOTES, kept)


def test_memory_that_nothing_can_read_is_not_in_the_file() -> None:
    header = Header(EHDR, 64, False, 62, (load(0, 100 * PAGE),))
    made = build(header, NOTES, PageMask([Range(0, 10), Range(50, 60)], 12))
    assert check(made) == [(0, 10), (50, 60)]
