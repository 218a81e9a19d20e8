"""Musts: memory without which a dump is worth little, looked up in the dead kernel by address.

What VMCOREINFO has a symbol for, the log, the root of the page tables, and the struct pages. After
a scan each of its pages must still be there; one that is not is put back, and reported. They are
looked up and checked a few thousand at a time: with hugetlb's vmemmap optimisation the struct
pages alone lie in 4,096 pieces for each GiB of memory.
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

_AT_ONCE = 4096  # must-haves that are in memory at a time
_PIECE = 1 << 16  # pages looked at in one go


class Essential(NamedTuple):
    """``[start, end)`` in physical addresses, and what it is."""

    name: str
    bytes: Range


class Essentials:
    """All that is known to be needed, anew each time it is iterated over.

    What cannot be found is passed over, and named in ``doubts``.
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
        """Where the log is. Page tables may make one page of memory a log of any length."""
        try:
            places = log_places(self._kernel, self._kernel.info)
            most = self._kept.pages << self._kept.page_shift
            for virt, size in places:
                if size > most:
                    raise FormatError(f"a log of {size:#x} bytes in {most:#x} of memory", virt)
        except (FaultError, FormatError) as error:
            self.doubts.append(f"whether all of the log was kept is not known: {error}")
            return []
        return places

    def _virtual(self, name: str, virt: int, size: int) -> Iterator[Essential]:
        before = None
        for extent in self._kernel.extents(virt, size):
            phys, step = extent
            if phys is not None and extent != before:  # huge pages' tails share their struct pages
                yield Essential(name, Range(phys, phys + step))
            before = extent


class Checked(NamedTuple):
    """What became of must-haves, a line for each kind."""

    restored: list[str]  # had been excluded
    outside: list[str]  # in no PT_LOAD, so that the dump cannot have them


def restore(kept: PageMask, zeros: Sequence[Range], needed: Iterable[Essential]) -> Checked:
    """Put back what of ``needed`` was excluded, but for ``zeros``."""
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
    """Their pages, each once a batch, in pieces of a bounded length."""
    for name, group in groupby(needed, attrgetter("name")):
        while batch := [must.bytes for must in islice(group, _AT_ONCE)]:
            for pages in pages_of(batch, page_shift):
                for start in range(pages.start, pages.end, _PIECE):
                    yield name, Range(start, min(start + _PIECE, pages.end))
