"""The kernel's core: an ELF file of the kept pages alone, its size known before anyone copies it.

::

    0       headers   notes      piece 0         piece 1                 st_size
    |-----------------|----------|-- kept pages -|-- kept, zeros, kept --|
    phys                         0x1000          0x100000

Every PT_LOAD of the dump becomes as many pieces as its kept pages have runs. Runs that less than
``GAP`` pages part are one piece, in which the excluded pages read as zeros: so there are never more
than one in a MiB, and readers that look them up one by one stay quick. Of a piece all bytes are in
the file (p_filesz is p_memsz: some readers pass over others), with the virtual address that the
dump gives them; the PT_NOTE stands first. All program headers are counted in e_phnum itself.

A page in no piece is not in the file, and reading it is an error in every reader. But a long run
of kept pages that are all zero is known: it has a program header without bytes (p_filesz 0).
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

GAP = 256  # makedumpfile's
MAX_PIECES = 0xFFFE - 1  # e_phnum 0xffff would mean that the number stands elsewhere
_NOWHERE = (2**32 - 1, 2**64 - 1)  # i386 highmem has no virtual address
_MOST_OFTEN = 4  # kernel text is in two PT_LOADs; nothing is in more than a few


@dataclass(frozen=True, slots=True)
class FilteredCore:
    """The file, and what had to be done to make it."""

    layout: Layout
    header: Header
    gap: int  # more than GAP where memory is too scattered for a program header each

    @property
    def remarks(self) -> list[str]:
        """What the user should know."""
        scattered = (
            f"kept pages are too scattered for {MAX_PIECES} program headers: up to "
            f"{self.gap - 1:#x} excluded pages between them read as zeros"
        )
        return [scattered] if self.gap > GAP else []


def build(
    header: Header, notes: bytes, kept: PageMask, zeros: Sequence[Range] = ()
) -> FilteredCore:
    """The core of ``kept``; ``header`` is the dump's, addressed as the dead kernel did.

    ``zeros`` are pages (pfns; sorted and disjoint) that are not in ``kept`` but known to be zero.

    Raises ``FormatError`` when no ELF file can hold it.
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
    """The least gap, GAP or more, with which there are ``most`` pieces or fewer."""
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
    """The runs (pfns) as program headers: their bytes inside ``load``, offsets yet to come."""
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
    """The file: as in /proc/vmcore everything starts at a page, and a piece where its page has it.

    What of a first or last page is in no PT_LOAD reads as zeros. Headers without bytes come last:
    crash takes the first PT_LOAD's offset for the end of the headers. They point to the file's end:
    gdb takes any PT_LOAD for a mapped program, and at 0 would find this file, and its notes again.
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
    """The ELF header without what the dump's kernel never looked at: it need not be right."""
    order = ">" if header.big_endian else "<"
    ehdr = bytearray(header.ehdr)
    ehdr[5] = 2 if header.big_endian else 1
    word, phoff, counts = ("Q", 32, 58) if header.bits == 64 else ("I", 28, 46)
    struct.pack_into(f"{order}2{word}", ehdr, phoff, len(ehdr), 0)  # e_phoff, e_shoff
    struct.pack_into(f"{order}3H", ehdr, counts, 0, 0, 0)  # e_shentsize, e_shnum, e_shstrndx
    return bytes(ehdr)
