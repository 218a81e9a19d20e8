# SPDX-License-Identifier: MIT
"""Filtered: a dump at a dump level, from the scan to the layout of the file.

kernel -> memory map -> classes -> check of essential memory -> layout; each step may report doubts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..elf.filteredcore import FilteredCore, build
from ..errors import FormatError
from ..kernel.printk import one_line
from ..maps.pagemask import pages_of
from ..maps.sizes import exact, human
from ..ranges import Range
from .classes import Class, Classes, classify
from .essential import Essentials, restore
from .freelists import FreeLists
from .memmap import memory_map
from .rules import Rules
from .sections import sections

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..elf.header import Header
    from ..kernel.kernel import Kernel
    from ..maps.memory import Memory
    from ..maps.pagemask import PageMask
    from .classes import Watch
    from .memmap import MemMap

_MOST_ZEROS = 1024  # zeros per byte of data: in a true dump struct pages alone are a 512th or more
_DOUBTS = {
    Class.NO_STRUCT: "their struct page cannot be read",
    Class.BAD_ORDER: "they are marked free, but with an invalid order",
    Class.ODD_TYPE: "their page type is a free page's, but unknown bits are set beside it",
    Class.NO_BYTES: "they cannot be read, so they may or may not be zero",
}


@dataclass(frozen=True, slots=True)
class Filtered:
    """A filtered dump."""

    classes: Classes
    core: FilteredCore
    restored: tuple[str, ...]  # essential memory that the scan had excluded
    others: tuple[str, ...]  # doubts of the steps before and after the scan

    @property
    def doubts(self) -> list[str]:
        """What is kept without being needed, or may be wrong, and why; a sentence each."""
        counts = self.classes.counts
        found = [f"{counts[c]} pages are kept: {why}" for c, why in _DOUBTS.items() if counts[c]]
        if self.classes.no_section:
            found.append(f"{self.classes.no_section} pages are kept: they have no struct page")
        return [*found, *self.classes.gaps, *self.others, *self.restored, *self.core.remarks]

    def report(self) -> str:
        """Pages by class, with the lines, order and words of makedumpfile's --show-stats.

        Each hexadecimal number is followed by the same in decimal, and as a size. One difference:
        makedumpfile's "Original pages" counts a page twice that two PT_LOADs hold (kernel text).
        """
        counts, kept = self.classes.counts, self.classes.kept
        zero = counts[Class.ZERO]
        remaining = kept.count() + sum(z.size for z in self.classes.zeros) - zero
        rows = (
            ("Original pages  ", kept.pages),
            ("  Excluded pages   ", kept.pages - remaining),
            ("    Pages filled with zero  ", zero),
            ("    Non-private cache pages ", counts[Class.CACHE]),
            ("    Private cache pages     ", counts[Class.CACHE_PRIVATE]),
            ("    User process data pages ", counts[Class.USER]),
            ("    Free pages              ", counts[Class.FREE]),
            ("    Hwpoison pages          ", counts[Class.HWPOISON]),
            ("    Offline pages           ", counts[Class.OFFLINE]),
            ("  Remaining pages  ", remaining),
        )
        shift = kept.page_shift
        lines = [f"{label}: {n:#018x} {n:>12}  {human(n << shift)}" for label, n in rows]
        size = self.core.layout.size
        percent = remaining * 100 // kept.pages if kept.pages else 0
        lines += [
            f"  (The number of pages is reduced to {percent}%.)",
            "-" * 50,
            f"Dump level      : {self.classes.level}",
            f"File size       : {exact(size)}",
            *(f"Doubt           : {doubt}" for doubt in self.doubts),
        ]
        return "".join(one_line(line) + "\n" for line in lines)


def filtered(
    kernel: Kernel, header: Header, notes: bytes, level: int, watch: Watch | None = None
) -> Filtered:
    """The dump of ``header``'s PT_LOADs at ``level``; it reads much memory: call it in a thread.

    Raises ``FormatError`` when the kernel's memory map is not understood: no file is made then.
    """
    _check_claims(kernel.memory)
    maps = memory_map(kernel)
    rules = Rules.from_vmcoreinfo(
        kernel.info, kernel.word, big_endian=kernel.big_endian, huge_orders=kernel.arch.huge_orders
    )
    loads = [Range(p.paddr, p.paddr + p.memsz) for p in header.loads]
    free = FreeLists(kernel, maps)
    blocks = free.blocks() if level & 16 and not rules.orders else ()
    classes = classify(kernel.memory, loads, sections(kernel, maps), rules, level, watch, blocks)
    kept = classes.kept
    needed = Essentials(kernel, maps, kept)
    checked = restore(kept, classes.zeros, needed)
    core = build(header, notes, kept, classes.zeros)
    others = (
        *free.doubts,
        *needed.doubts,
        *_offline(maps, kept),
        *_missing(loads, kept),
        *checked.outside,
    )
    return Filtered(classes, core, tuple(checked.restored), others)


def _offline(maps: list[MemMap], kept: PageMask) -> Iterator[str]:
    """Offline memory stays in the header until it is removed, and nothing clears its content."""
    pages = sum(kept.count(Range(m.pfn, m.end)) for m in maps if not m.online)
    if pages:
        yield (f"{pages} pages are kept: their memory was offline at the crash; it still holds old "
               "content, also of user pages")  # fmt: skip


def _missing(loads: list[Range], kept: PageMask) -> Iterator[str]:
    """Pages that the header names and a truncated source does not hold."""
    missing = sum(r.size for r in pages_of(loads, kept.page_shift)) - kept.pages
    if missing:
        yield (f"{missing} pages of the PT_LOADs are missing in the source, so they are in no "
               "program header of vmcore-kern")  # fmt: skip


def _check_claims(memory: Memory) -> None:
    """Refuse a small file that claims terabytes of zeros: a scan would take hours."""
    total = sum(r.size for r in memory.held)
    if memory.zeros > _MOST_ZEROS * (total - memory.zeros):
        raise FormatError(
            f"the program headers claim {memory.zeros:#x} bytes of zeros (p_filesz 0) and only "
            f"{total - memory.zeros:#x} bytes of data: this is no dump of a kernel"
        )
