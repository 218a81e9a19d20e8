# SPDX-License-Identifier: MIT
"""Which pages of a dead kernel's memory are kept at a dump level, and the class of the others.

Python makes tables of where the struct pages of each section lie; ``csrc/sweep.c`` reads them and
decides. A page in doubt is kept and counted.
"""

from __future__ import annotations

import errno
import sys
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from .._oldmem import ffi, lib
from ..errors import OldmemError
from ..host import meminfo
from ..maps.pagemask import HEADS, PageMask, pages_of
from ..maps.table import Kind, Row, Table
from ..ranges import Range, intersect
from .sections import Batch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ..maps.memory import Memory
    from .rules import Rules
    from .sections import Section

MAX_LEVEL = 31
LONG = 256  # pages: shorter runs of zero pages stay in the file; makedumpfile's PFN_EXCLUDED
MAX_ZEROS = 16384  # at most so many long runs of zero pages are left out; the rest stays
_LARGEST_PAGE = 1 << 16


class Class(IntEnum):
    """Why a page is left out, or is kept in doubt (``enum om_class`` in csrc/oldmem.h)."""

    ZERO = lib.OM_ZEROED
    CACHE = lib.OM_CACHE
    CACHE_PRIVATE = lib.OM_CACHE_PRIVATE
    USER = lib.OM_USER
    FREE = lib.OM_FREE
    HWPOISON = lib.OM_HWPOISON
    OFFLINE = lib.OM_OFFLINE
    NO_STRUCT = lib.OM_NO_STRUCT
    BAD_ORDER = lib.OM_BAD_ORDER
    ODD_TYPE = lib.OM_ODD_TYPE
    NO_BYTES = lib.OM_NO_BYTES


class Watch:
    """A running scan: other threads read its progress here, and can cancel it."""

    def __init__(self) -> None:
        self.job = ffi.new("struct om_job *")
        self.total = 0  # pages, counted once for each pass over them

    @property
    def done(self) -> int:
        """How many pages of ``total`` are done."""
        return int(self.job.done)

    def cancel(self) -> None:
        """End the scan soon; ``classify`` then raises ``OldmemError``."""
        self.job.cancel = 1


@dataclass(frozen=True)
class Classes:
    """What ``classify`` found."""

    level: int
    kept: PageMask
    zeros: tuple[Range, ...]  # pfns: long runs of zero pages; their bits in ``kept`` are cleared
    counts: dict[Class, int]  # pages
    no_section: int  # pages kept because the kernel has no struct page for them
    gaps: tuple[str, ...]  # rules that are off, a sentence each


def classify(
    memory: Memory,
    loads: Iterable[Range],
    sections: Iterable[Section],
    rules: Rules,
    level: int,
    watch: Watch | None = None,
    free: Iterable[Range] = (),
    *,
    long: int = LONG,
) -> Classes:
    """Decide for each page that is both in ``loads`` and in ``memory`` whether it is kept.

    ``loads`` are the dump's PT_LOADs, as byte ranges of the dead kernel's physical addresses.
    ``free`` are free blocks that the free lists name and struct pages do not mark, as pfns.
    ``long`` is the number of pages from which a run of zero pages is left out.

    It reads all struct pages, and at an odd level all kept pages: call it in a thread.

    Raises ``FormatError`` for more memory than any machine has, ``OldmemError`` when cancelled or
    when too little memory is left for the bitmap (one bit per page).
    """
    assert 0 <= level <= MAX_LEVEL, level
    watch = watch or Watch()
    shift = rules.page_shift
    pages = _both(pages_of(loads, shift), pages_of(memory.held, shift))
    kept = PageMask(pages, shift, meminfo.available())
    watch.total = kept.pages * (2 if level & 1 else 1)
    job = watch.job
    ram = ffi.new("struct om_ram[]", [tuple(r) for r in kept.ram])
    job.ram, job.ram_count, job.kept, job.page_shift = ram, len(kept.ram), kept.handle, shift
    zeros: tuple[Range, ...] = ()
    for block in free:
        job.counts[Class.FREE] += kept.clear(block)
        _check(-errno.ECANCELED if job.cancel else 0)
    covered = kept.pages
    if rules.sweeps(level):
        covered = _sweep(memory, sections, rules, level, kept, job)
    if level & 1:
        table = Table(list(_padded(memory)), b"", memory.windows)
        found = ffi.new("struct om_range[]", MAX_ZEROS)
        job.table, job.zeros, job.zero_max, job.zero_least = table.handle, found, MAX_ZEROS, long
        _check(lib.om_zero(job))
        zeros = tuple(Range(z.start, z.end) for z in found[0 : job.zero_count])
    counts = {c: int(job.counts[c]) for c in Class}
    return Classes(level, kept, zeros, counts, kept.pages - covered, rules.gaps)


def _padded(memory: Memory) -> Iterator[Row]:
    """The rows of all memory; where only a part of a page is present, the rest counts as zeros."""
    for row in memory.rows(0, memory.end, 0):
        yield row._replace(kind=Kind.ZERO) if row.kind is Kind.HOLE else row
    yield Row(memory.end, _LARGEST_PAGE, Kind.ZERO)


def _both(a: Sequence[Range], b: Sequence[Range]) -> list[Range]:
    """The intersection of two sorted lists of disjoint ranges."""
    shared, i, j = [], 0, 0
    while i < len(a) and j < len(b):
        if both := intersect(a[i], b[j]):
            shared.append(both)
        if a[i].end < b[j].end:
            i += 1
        else:
            j += 1
    return shared


def _sweep(
    memory: Memory,
    sections: Iterable[Section],
    rules: Rules,
    level: int,
    kept: PageMask,
    job: ffi.CData,
) -> int:
    """Sweep over the sections in batches; returns how many pages belong to a section."""
    numbers = _numbers(rules, level)
    batch = Batch(memory, rules.size)
    covered = 0

    def flush() -> None:
        table = Table(batch.rows, b"", memory.windows)
        array = ffi.new("struct om_chunk[]", batch.chunks)
        job.table, job.chunks, job.chunk_count = table.handle, array, len(batch.chunks)
        _check(lib.om_sweep(numbers, job))
        batch.clear()

    for section in sections:
        whole = Range(section.pfn, section.pfn + section.pages)
        covered += sum(ram.pages for ram in kept.cut(whole))
        goes_on = False
        for piece in kept.blocks(whole, HEADS):
            pfn = piece.start
            while pfn < piece.end:
                pfn = batch.add(section, Range(pfn, piece.end), goes_on)
                goes_on = True
                if batch.full:
                    flush()
    if batch.chunks:
        flush()
    return covered


def _check(result: int) -> None:
    if result == -errno.ENOMEM:
        raise MemoryError
    if result:
        raise OldmemError("the page scan was cancelled")


def _numbers(rules: Rules, level: int) -> ffi.CData:
    """The rules as C's ``struct om_rules``; what is not known is 0 there."""
    n = ffi.new("struct om_rules *")
    n.level, n.size, n.word = level, rules.size, rules.word
    n.swap = rules.big_endian != (sys.byteorder == "big")
    n.flags = rules.flags
    n.head, n.tail_bit = rules.head or 0, rules.head is not None
    n.mapping, n.anon_bit = rules.mapping or 0, rules.mapping is not None
    # Where these two are not known, rules.types or rules.orders is empty: C reads neither.
    n.mapcount, n.private_ = rules.mapcount or 0, rules.private or 0
    if rules.order:
        n.order, n.order_width = rules.order
    bits = {name: 1 << bit for name, bit in rules.bits.items()}
    n.head_bit = rules.head_mask
    n.slab, n.hwpoison = bits.get("slab", 0), bits.get("hwpoison", 0)
    if rules.mapping is not None:  # without it page cache and anonymous pages look the same
        n.lru, n.private_bit, n.swapcache = bits["lru"], bits["private"], bits["swapcache"]
        n.swapbacked = bits.get("swapbacked", 0)
    if "hugetlb" in rules.types:
        n.hugetlb, n.hugetlb_type = lib.OM_HUGETLB_TYPE, rules.types["hugetlb"]
    elif "hugetlb" in bits:
        n.hugetlb, n.hugetlb_bit = lib.OM_HUGETLB_FLAG, bits["hugetlb"]
        n.hugetlb_orders = rules.hugetlb_orders
    elif rules.dtor:
        n.hugetlb = lib.OM_HUGETLB_DTOR
        n.dtor, n.dtor_width, n.dtor_value = rules.dtor
    n.orders, n.least_type = rules.orders, min(rules.types.values(), default=(1 << 32) - 1)
    for name, has in (
        ("buddy", lib.OM_HAS_BUDDY if rules.orders else 0),
        ("unaccepted", lib.OM_HAS_UNACCEPTED if rules.orders else 0),
        ("offline", lib.OM_HAS_OFFLINE),
        ("slab", lib.OM_HAS_SLAB),
    ):
        if name in rules.types:
            n.has |= has
            setattr(n, "slab_type" if name == "slab" else name, rules.types[name])
    return n
