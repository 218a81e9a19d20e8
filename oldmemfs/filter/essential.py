# SPDX-License-Identifier: MIT
"""Essential memory: pages that every reader of a dump needs, checked after each scan.

These are the symbols in VMCOREINFO, the log, the root of the page tables, and the struct pages. If
the scan has excluded one of their pages, the page is kept after all, and that is reported.

They are looked up and checked a few thousand at a time, to bound memory: with hugetlb's vmemmap
optimisation the struct pages alone lie in 4,096 pieces for each GiB of memory.
"""

from __future__ import annotations

from itertools import groupby, islice
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from ..errors import FaultError, FormatError
from ..kernel.printk import log_places
from ..maps.pagemask import HEADS, pages_of
from ..ranges import Range

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ..kernel.kernel import Kernel
    from ..maps.pagemask import PageMask
    from .memmap import MemMap

_AT_ONCE = 4096  # essentials that are held in memory at a time
_PIECE = 1 << 16  # pages checked at a time


class Essential(NamedTuple):
    """``[start, end)`` in physical addresses, and what it is."""

    name: str
    bytes: Range


class Essentials:
    """The essential memory of a kernel; each iteration looks it up again.

    What cannot be found is left out; ``doubts`` then says what and why.
    """

    def __init__(self, kernel: Kernel, maps: Iterable[MemMap], kept: PageMask) -> None:
        self._kernel, self._maps, self._kept = kernel, maps, kept
        self.doubts: list[str] = []

    def __iter__(self) -> Iterator[Essential]:
        self.doubts.clear()
        kernel = self._kernel
        for name in kernel.info.values:
            if name.startswith("SYMBOL(") and (virt := kernel.info.symbol(name[7:-1])):
                yield from self._virtual(name, virt, 1)
        paging = kernel.space.paging
        if paging:
            yield Essential("page tables", Range(paging.root, paging.root + kernel.page_size))
        for virt, size in self._log():
            yield from self._virtual("log", virt, size)
        for part in self._maps:
            for near in self._kept.blocks(Range(part.pfn, part.end), HEADS):
                virt = part.virt + (near.start - part.pfn) * part.struct_size
                yield from self._virtual("struct pages", virt, near.size * part.struct_size)

    def _log(self) -> list[tuple[int, int]]:
        """Where the log is, as (virt, size).

        Hostile page tables can map one page many times, so a log larger than memory is refused.
        """
        try:
            places = log_places(self._kernel, self._kernel.info)
            most = self._kept.pages << self._kept.page_shift
            for virt, size in places:
                if size > most:
                    raise FormatError(f"a log of {size:#x} bytes in {most:#x} of memory", virt)
        except (FaultError, FormatError) as error:
            self.doubts.append(f"could not check that the whole log was kept: {error}")
            return []
        return places

    def _virtual(self, name: str, virt: int, size: int) -> Iterator[Essential]:
        before = None
        for extent in self._kernel.extents(virt, size):
            phys, step = extent
            # With the vmemmap optimisation the tails of a huge page share one page of structs.
            if phys is not None and extent != before:
                yield Essential(name, Range(phys, phys + step))
            before = extent


class Checked(NamedTuple):
    """What the check of essential memory found, a sentence for each kind of memory."""

    restored: list[str]  # pages that the scan had excluded; they are kept now
    outside: list[str]  # memory in no PT_LOAD: the dump cannot have it


def restore(kept: PageMask, zeros: Sequence[Range], needed: Iterable[Essential]) -> Checked:
    """Set the bits of ``needed`` in ``kept``, except for ``zeros``: the file has those anyway."""
    counts: dict[str, int] = {}
    first: dict[str, int] = {}
    outside: dict[str, None] = {}
    for name, pages in _merged(needed, kept.page_shift):
        if lost := kept.restore(pages, zeros):
            first.setdefault(name, lost[0].start << kept.page_shift)
            counts[name] = counts.get(name, 0) + sum(r.size for r in lost)
        if sum(ram.pages for ram in kept.cut(pages)) < pages.size:
            outside.setdefault(name)
    restored = [
        f"{name}: {count} pages had been excluded, first at {first[name]:#x}; they are kept"
        for name, count in counts.items()
    ]
    names = ", ".join(outside)
    without = f"in no PT_LOAD, so readers of the dump will not find them: {names}"
    return Checked(restored, [without] if outside else [])


def _merged(needed: Iterable[Essential], page_shift: int) -> Iterator[tuple[str, Range]]:
    """The pages of ``needed`` by name: in each batch every page once, in pieces of bounded size."""
    for name, group in groupby(needed, attrgetter("name")):
        while batch := [must.bytes for must in islice(group, _AT_ONCE)]:
            for pages in pages_of(batch, page_shift):
                for start in range(pages.start, pages.end, _PIECE):
                    yield name, Range(start, min(start + _PIECE, pages.end))
