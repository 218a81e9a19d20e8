# SPDX-License-Identifier: MIT
"""Which pages a filter keeps, held against the kernel's own word for each, before and at the crash.

Before: two readings of /proc/kpageflags (``guest.pageflags``). At the crash: the struct pages in
the image (``structpages``). Pages change hands between the two, so no number of pages is demanded.
Each page that has changed must be shown to have changed.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from oldmemfs.filter.classes import classify
from oldmemfs.filter.memmap import memory_map
from oldmemfs.filter.rules import Rules
from oldmemfs.filter.sections import sections
from oldmemfs.ranges import Range

from .guest.pageflags import CHANGED, KERNEL, OUT, SLAB, TABLE
from .structpages import Kind

if TYPE_CHECKING:
    from collections.abc import Collection

    from oldmemfs.dump import Dump
    from oldmemfs.maps.pagemask import PageMask

    from .structpages import StructPages

# User pages that no list has: they wait for their LRU list, at most 31 for each processor, or are
# being moved, at most 32 at a time.
_WAITING = 64
_TOLD = 6
_EVERYTHING = Range(0, 1 << 40)


def judge(
    said: bytes, pages: StructPages, kept: Collection[int], whole: Collection[int], cpus: int
) -> str:
    """What was seen; ``AssertionError`` names the pages at fault.

    Every page that is the kernel's by its struct page is kept, no other page is. What the kernel
    called its own and is not kept has a struct page that is on a list of free or user pages. Most
    of its slab pages still are slab pages.
    """
    _none("the kernel's by their struct pages and not kept",
          [p for p in whole if pages.kind(p).kept and p not in kept])  # fmt: skip
    _none("kept and not the kernel's by their struct pages",
          [p for p in whole if not pages.kind(p).kept and p in kept])  # fmt: skip
    slab = [pfn for pfn in whole if said[pfn] & SLAB and not said[pfn] & CHANGED]
    still = sum(pages.kind(pfn) is Kind.SLAB for pfn in slab)
    # A list leads back to a struct page, and so shows that it is one, but not of which page.
    assert still * 2 > len(slab), (
        f"of {len(slab)} slab pages {still} have the struct page of one: it is of other pages"
    )
    same: Counter[str] = Counter()
    changed: Counter[str] = Counter()
    without_list = []
    for pfn in whole:
        before, now = said[pfn], pages.kind(pfn)
        if before & CHANGED or not before & (KERNEL | OUT):
            continue
        if bool(before & KERNEL) == now.kept:
            same[_name(before)] += 1
            continue
        changed[f"{_name(before)} -> {now.value}"] += 1
        if not now.kept and not pages.proven(pfn):
            without_list.append(pfn)
    told = f"{len(kept)} of {len(whole)} pages kept; as before: {_list(same)}"
    if changed:
        told += f"; changed hands: {_list(changed)}, {len(without_list)} of them on no list"
    assert same["user's or free"], f"no user's page was judged: {told}"
    if len(without_list) > _WAITING * cpus:
        _none(f"the kernel's before, and on no list of others now ({told})", without_list)
    return told


def _name(word: int) -> str:
    if word & OUT:
        return "user's or free"
    return "slab" if word & SLAB else "page table" if word & TABLE else "kernel"


def _list(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def _none(fault: str, pages: list[int]) -> None:
    first = " ".join(f"{pfn:#x}" for pfn in pages[:_TOLD])
    assert not pages, f"{len(pages)} pages are {fault}: {first}"


def whole_pages(dump: Dump) -> set[int]:
    """The pages that the PT_LOADs have all of; makedumpfile judges no others."""
    size = dump.page_size
    return {
        pfn
        for load in dump.header.loads
        for pfn in range(-(-load.paddr // size), (load.paddr + load.memsz) // size)
    }


def kept_pages(dump: Dump, level: int) -> set[int]:
    """The pages that are kept at a level, zero pages with them."""
    dead = dump.kernel
    rules = Rules.from_vmcoreinfo(
        dead.info, dead.word, big_endian=dead.big_endian, huge_orders=dead.arch.huge_orders
    )
    loads = [Range(p.paddr, p.paddr + p.memsz) for p in dump.header.loads]
    found = classify(dead.memory, loads, sections(dead, memory_map(dead)), rules, level & ~1)
    return pfns(found.kept) & whole_pages(dump)


def pfns(kept: PageMask) -> set[int]:
    """The page frames of a set."""
    return {pfn for run in kept.runs(_EVERYTHING) for pfn in range(*run)}
