# SPDX-License-Identifier: MIT
"""Sections: where a kernel's struct pages lie, given to the sweep in batches of bounded size.

The struct pages of a section are one array in virtual addresses. In physical memory its pieces lie
where the page tables say::

    section     |------------------- pages -------------------|
    extents     |-- phys --|-- phys (perhaps the same) --| ? --|

Only the struct pages of present memory are looked up, because a hostile VMCOREINFO can claim
sections of any size.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ..errors import FormatError
from ..maps.pagemask import HEADS
from ..maps.table import Kind, Row
from ..ranges import Range, round_down

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..kernel.kernel import Kernel
    from ..maps.memory import Memory
    from .memmap import MemMap

_BATCH = 8192  # rows given to C at once; bounds the memory that scattered struct pages take
_MOST_ROWS = _BATCH + (1 << 16)  # the struct pages of HEADS pages may need more rows than a batch


class Section(NamedTuple):
    """The pages ``[pfn, pfn + pages)``; a sweep starts at the first of them.

    ``extents(pfn, pages)`` gives where the struct pages of some of them lie, in order, as
    ``(phys, size)`` in bytes; ``phys`` is None where the page tables map nothing.
    """

    pfn: int
    pages: int
    extents: Callable[[int, int], Iterable[tuple[int | None, int]]]


def sections(kernel: Kernel, maps: Iterable[MemMap]) -> Iterator[Section]:
    """The kernel's memory map, cut into sections."""
    for part in maps:
        extents = partial(_extents, kernel, part)
        pfn, unit = part.pfn, part.section_pages or part.count
        while pfn < part.end:
            stop = min(part.end, pfn + unit - (pfn % unit if part.section_pages else 0))
            yield Section(pfn, stop - pfn, extents)
            pfn = stop


def _extents(
    kernel: Kernel, part: MemMap, pfn: int, pages: int
) -> Iterator[tuple[int | None, int]]:
    virt = part.virt + (pfn - part.pfn) * part.struct_size
    return kernel.extents(virt, pages * part.struct_size)


class Batch:
    """Struct pages for one call of C: ``_BATCH`` rows, and those that its last piece adds."""

    def __init__(self, memory: Memory, struct_size: int) -> None:
        self.rows: list[Row] = []
        self.chunks: list[tuple[int, int, int, bool]] = []  # struct om_chunk
        self._memory, self._struct_size = memory, struct_size
        self._end = 0

    @property
    def full(self) -> bool:
        """Whether the caller should sweep now and then ``clear``."""
        return len(self.rows) >= _BATCH

    def clear(self) -> None:
        """Remove all rows and chunks."""
        self.rows.clear()
        self.chunks.clear()
        self._end = 0

    def add(self, section: Section, pages: Range, goes_on: bool) -> int:
        """Add ``pages``, or as many from the front as fit; returns the pfn after the last one.

        Raises ``FormatError`` when the struct pages of ``HEADS`` pages are in more than 65,536
        pieces: no kernel has that, but hostile page tables may.
        """
        start, stop = self._end, pages.end
        for row in self._rows_of(section.extents(pages.start, pages.size)):
            self.rows.append(row)
            if not self.full:
                continue
            done = pages.start + (self._end - start) // self._struct_size
            if (cut := min(round_down(done, HEADS), pages.end)) > pages.start:
                stop = cut
                break
            if len(self.rows) > _MOST_ROWS:
                raise FormatError(
                    f"the struct pages of {pages.start:#x} and the {HEADS} page frames behind "
                    f"it are in more than {_MOST_ROWS - _BATCH} pieces of memory"
                )
        self.chunks.append((pages.start, stop - pages.start, start, goes_on))
        return stop

    def _rows_of(self, extents: Iterable[tuple[int | None, int]]) -> Iterator[Row]:
        for phys, size in extents:
            if phys is None:
                self._end += size
                yield Row(self._end - size, size, Kind.HOLE)
                continue
            for row in self._memory.rows(phys, phys + size, self._end):
                self._end = row.start + row.size
                yield row
