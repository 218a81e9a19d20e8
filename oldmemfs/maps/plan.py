# SPDX-License-Identifier: MIT
"""Plan: a layout and a memory, combined once into one table that C reads a file from."""

from __future__ import annotations

import os
import stat
from bisect import bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING

from ..ranges import Range, intersect
from .layout import Fill, Layout
from .memory import Access
from .table import Kind, Row, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .memory import Memory


def _rows(layout: Layout, memory: Memory) -> Iterator[Row]:
    for e in layout.extents:
        if e.fill is Fill.MEMORY:
            yield from memory.rows(e.at, e.at + e.size, e.offset)
        elif e.fill is Fill.MASKED:
            for row in memory.rows(e.at, e.at + e.size, e.offset):
                yield row._replace(mask=e.mask + row.start - e.offset)
        elif e.fill is Fill.BYTES:
            yield Row(e.offset, e.size, Kind.BYTES, e.at)
        else:
            yield Row(e.offset, e.size, Kind.ZERO)


class Plan:
    """A file that can be read: ``layout`` with its addresses looked up in ``memory``.

    ``size`` is the file's size in bytes.
    """

    def __init__(self, layout: Layout, memory: Memory) -> None:
        self.layout = layout
        self.memory = memory
        self.table = Table(_rows(layout, memory), layout.data, memory.windows, layout.mask)
        self.size = layout.size

    def backing(self) -> int:
        """The descriptor of the regular file whose bytes are just these, or -1.

        True of an ELF core's `vmcore`: every byte at its own offset, nothing missing at the end.
        """
        runs = self.memory.runs
        extents = [(e.offset, e.at, e.size, e.fill) for e in self.layout.extents]
        if not runs or extents != [(0, 0, self.size, Fill.MEMORY)]:
            return -1
        fd = runs[0].fd
        whole = self.memory.ranges == [Range(0, self.size)]
        same = all(r.fd == fd and r.offset == r.phys and r.access is not Access.ZERO for r in runs)
        if not whole or not same:
            return -1
        state = os.fstat(fd)
        return fd if stat.S_ISREG(state.st_mode) and state.st_size == self.size else -1

    def places(self, part: Range) -> Iterator[tuple[int | None, Range]]:
        """The physical address of each piece of ``part``, which is a range of file offsets.

        Yields ``(address, piece)`` for each extent that ``part`` overlaps; the address is None for
        an extent that is not memory.
        """
        extents = self.layout.extents
        first = max(bisect_right(extents, part.start, key=attrgetter("offset")) - 1, 0)
        for i in range(first, len(extents)):
            e = extents[i]
            both = intersect(part, Range(e.offset, e.offset + e.size))
            if both is None:
                return
            of_memory = e.fill in (Fill.MEMORY, Fill.MASKED)
            yield e.at + (both.start - e.offset) if of_memory else None, both
