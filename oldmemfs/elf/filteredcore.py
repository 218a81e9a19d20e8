# SPDX-License-Identifier: MIT
"""FilteredCore: the layout of `vmcore-kern`, an ELF core that has only the kept pages.

::

    0       headers   notes      piece 0         piece 1                 st_size
    |-----------------|----------|-- kept pages -|-- kept, zeros, kept --|
    phys                         0x1000          0x100000

Every PT_LOAD of the dump is split into pieces, one for each run of kept pages in it, and each piece
is a PT_LOAD of the new file. Runs with fewer than ``GAP`` excluded pages between them share a
piece, and those excluded pages read as zeros. So there is at most one piece for each MiB, and
readers that search the program headers one by one stay fast. p_filesz equals p_memsz in every piece
(some readers ignore pieces where it does not), and p_vaddr follows the dump's. The PT_NOTE comes
first. e_phnum itself counts all program headers: PN_XNUM is not used.

A page in no piece is not in the file, and reading it is an error in every reader. Long runs of
pages that are known to be all zero get a PT_LOAD without file data (p_filesz 0).
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING

from ..errors import FormatError
from ..maps.layout import Layout
from ..ranges import Range, intersect, round_up
from .header import PT_NOTE, Header, Phdr, with_phdrs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..maps.pagemask import PageMask

GAP = 256  # pages, as in makedumpfile
MAX_PIECES = 0xFFFE - 1  # beside the PT_NOTE; e_phnum 0xffff is PN_XNUM: the number is in sh_info
_NOWHERE = (2**32 - 1, 2**64 - 1)  # i386 highmem has no virtual address
_MOST_OFTEN = 4  # PT_LOADs that a page may be in on average; the kernel's text is in two


@dataclass(frozen=True, slots=True)
class FilteredCore:
    """The file's layout and header, and the gap that it was made with."""

    layout: Layout
    header: Header
    gap: int  # in pages; larger than GAP if there would be more than MAX_PIECES pieces otherwise

    @property
    def remarks(self) -> list[str]:
        """Warnings for the user: a sentence if the gap had to be widened."""
        scattered = (
            f"kept pages are too scattered for {MAX_PIECES} program headers: up to "
            f"{self.gap - 1:#x} excluded pages between them read as zeros"
        )
        return [scattered] if self.gap > GAP else []


def build(
    header: Header, notes: bytes, kept: PageMask, zeros: Sequence[Range] = ()
) -> FilteredCore:
    """The core that has the pages of ``kept``.

    ``header`` is the dump's, and its p_paddr are the dead kernel's physical addresses. ``notes``
    are the bytes of the PT_NOTE. ``zeros`` are pages (pfns; sorted and disjoint) that are not in
    ``kept`` but known to be all zero.

    Raises ``FormatError`` if the core needs too many program headers or, for ELF32, 4 GiB.
    """
    shift = kept.page_shift
    loads = [p for p in header.loads if p.memsz]
    spans = [Range(p.paddr >> shift, (p.paddr + p.memsz - 1 >> shift) + 1) for p in loads]
    empty: list[Phdr] = []
    for load, span in zip(loads, spans, strict=True):
        first = bisect_right(zeros, span.start, key=attrgetter("end"))
        last = bisect_left(zeros, span.end, key=attrgetter("start"))
        inside = [both for z in zeros[first:last] if (both := intersect(z, span))]
        empty += [p._replace(filesz=0) for p in _pieces(load, inside, shift)]
    gap = _widen(kept, spans, MAX_PIECES - len(empty))
    pieces: list[Phdr] = []
    for load, span in zip(loads, spans, strict=True):
        pieces += _pieces(load, kept.runs(span, gap), shift)
    return FilteredCore(*_lay_out(header, notes, pieces, empty, kept), gap)


def _widen(kept: PageMask, spans: Sequence[Range], most: int) -> int:
    """``GAP``, doubled until there are at most ``most`` pieces; in pages."""
    bits = sum(ram.pages for span in spans for ram in kept.cut(span))
    if bits > _MOST_OFTEN * kept.pages:
        raise FormatError(f"the PT_LOADs hold the same memory {bits / kept.pages:.0f} times over")
    gap = GAP
    while True:
        count = sum(kept.count_runs(span, gap) for span in spans)
        if count <= most:
            return gap
        if gap > kept.pages:
            raise FormatError(f"{count} pieces of memory are more than an ELF file may have")
        gap *= 2


def _pieces(load: Phdr, runs: Sequence[Range], shift: int) -> list[Phdr]:
    """A program header for each run (pfns), cut to ``load``; p_offset is filled in later."""
    whole = Range(load.paddr, load.paddr + load.memsz)
    pieces = []
    for run in runs:
        part = intersect(Range(run.start << shift, run.end << shift), whole)
        assert part, f"pages {run} are not in {whole}"
        vaddr = load.vaddr if load.vaddr in _NOWHERE else load.vaddr + part.start - load.paddr
        pieces.append(load._replace(vaddr=vaddr % 2**64, paddr=part.start, filesz=part.size,
                                    memsz=part.size))  # fmt: skip
    return pieces


def _lay_out(
    header: Header, notes: bytes, pieces: Sequence[Phdr], empty: Sequence[Phdr], kept: PageMask
) -> tuple[Layout, Header]:
    """The layout and the header.

    As in /proc/vmcore, every part starts at a page border of the file, and a piece that starts
    inside a page of memory starts at the same place in a page of the file. The rest of its first
    and last page reads as zeros.

    The program headers without file data (``empty``) come last, because crash takes the p_offset of
    the first PT_LOAD for the end of the headers. Their p_offset is the end of the file: gdb looks
    for a mapped ELF file in every PT_LOAD, and with p_offset 0 would find this file's own header.
    """
    page = 1 << kept.page_shift
    notes_at = round_up(len(header.ehdr) + header.phdr_size * (1 + len(pieces) + len(empty)), page)
    at = round_up(notes_at + len(notes), page)
    phdrs = [Phdr(PT_NOTE, 0, notes_at, 0, 0, len(notes), len(notes), 4)]
    for piece in pieces:
        lead = piece.paddr % page
        phdrs.append(piece._replace(offset=at + lead))
        at = round_up(at + lead + piece.memsz, page)
    if header.bits == 32 and at > 1 << 32:
        raise FormatError(f"a file of {at:#x} bytes is more than ELF{header.bits} can describe")

    ends = [p._replace(offset=at) for p in empty]
    header = with_phdrs(replace(header, ehdr=_clean(header)), [*phdrs, *ends])
    layout = Layout(mask=kept)
    for data, label in ((header.pack(), "ELF header"), (notes, "notes")):
        layout.bytes(data, label)
        layout.zero(-len(data) % page, "padding")
    for i, p in enumerate(phdrs[1:]):
        layout.zero(p.offset - layout.size, "padding")
        layout.masked(p.paddr, p.memsz, f"piece {i}")
        layout.zero(-layout.size % page, "padding")
    assert layout.size == at, f"{layout.size:#x} bytes laid out, {at:#x} counted"
    return layout, header


def _clean(header: Header) -> bytes:
    """The ELF header with the fields that the kernel does not check set to what is true here.

    These are EI_DATA, e_phoff and the section header fields, which may hold anything in the dump.
    """
    order = ">" if header.big_endian else "<"
    ehdr = bytearray(header.ehdr)
    ehdr[5] = 2 if header.big_endian else 1
    word, phoff, counts = ("Q", 32, 58) if header.bits == 64 else ("I", 28, 46)
    struct.pack_into(f"{order}2{word}", ehdr, phoff, len(ehdr), 0)  # e_phoff, e_shoff
    struct.pack_into(f"{order}3H", ehdr, counts, 0, 0, 0)  # e_shentsize, e_shnum, e_shstrndx
    return bytes(ehdr)
