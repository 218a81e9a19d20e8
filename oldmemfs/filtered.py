"""Filtered: a dump at a dump level, from the scan to the file.

kernel -> memory map -> classes -> must-haves put back -> layout; each step says what it doubts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .freelists import FreeLists
from .kernelcore import KernelCore, build
from .memmap import memory_map
from .musts import absent, musts, restore
from .pages import Class, Classes, classify, sections
from .ranges import Range
from .rules import Rules

if TYPE_CHECKING:
    from .elfcore import Header
    from .kernel import Kernel
    from .pages import Watch

_DOUBTS = {
    Class.NO_STRUCT: "their struct page cannot be read",
    Class.BAD_ORDER: "they are marked free, of an order that there is not",
    Class.ODD_TYPE: "their type is a free page's, with bits beside it that are not known",
    Class.NO_BYTES: "they cannot be read, so they may or may not be zero",
}


@dataclass(frozen=True, slots=True)
class Filtered:
    """A filtered dump."""

    classes: Classes
    core: KernelCore
    restored: tuple[str, ...]  # must-haves that had been excluded
    others: tuple[str, ...]  # of the free lists that were walked, and of what is in no PT_LOAD

    @property
    def doubts(self) -> list[str]:
        """What was kept, or may be wrong, and why."""
        counts = self.classes.counts
        found = [f"{counts[c]} pages are kept: {why}" for c, why in _DOUBTS.items() if counts[c]]
        if self.classes.no_section:
            found.append(f"{self.classes.no_section} pages are kept: they have no struct page")
        return [*found, *self.classes.gaps, *self.others, *self.restored, *self.core.remarks]

    def report(self) -> str:
        """Pages by class, line by line in the order and words of makedumpfile --show-stats.

        Its "Original pages" counts what two PT_LOADs hold (the kernel's text) twice.
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
        lines = [f"{label}: {value:#018x}" for label, value in rows]
        percent = remaining * 100 // kept.pages if kept.pages else 0
        lines += [
            f"  (The number of pages is reduced to {percent}%.)",
            "-" * 50,
            f"Dump level      : {self.classes.level}",
            f"File size       : {self.core.layout.size}",
            *(f"Doubt           : {doubt}" for doubt in self.doubts),
        ]
        return "\n".join(lines) + "\n"


def filtered(
    kernel: Kernel, header: Header, notes: bytes, level: int, watch: Watch | None = None
) -> Filtered:
    """The dump of ``header``'s PT_LOADs at ``level``; takes its time: call it in a thread.

    Raises ``FormatError`` when the kernel's memory map is not understood: nothing is pretended.
    """
    maps = memory_map(kernel)
    rules = Rules.of(kernel.info, kernel.arch.name, kernel.word, big_endian=kernel.big_endian)
    loads = [Range(p.paddr, p.paddr + p.memsz) for p in header.loads]
    free = FreeLists(kernel, maps)
    blocks = free.blocks() if level & 16 and not rules.orders else ()
    classes = classify(kernel.memory, loads, sections(kernel, maps), rules, level, watch, blocks)
    needed = list(musts(kernel, maps))
    restored = restore(classes.kept, classes.zeros, needed)
    core = build(header, notes, classes.kept, classes.zeros)
    outside = absent(classes.kept, needed)
    return Filtered(classes, core, tuple(restored), (*free.doubts, *outside))
