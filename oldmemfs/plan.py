"""Plan: a layout laid over a memory, composed once into one table that C reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .layout import Fill, Layout
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
    """A file that can be read: ``size`` bytes, known before anyone copies it."""

    def __init__(self, layout: Layout, memory: Memory) -> None:
        self.layout = layout
        self.table = Table(_rows(layout, memory), layout.data, memory.windows, layout.mask)
        self.size = layout.size

    def address(self, offset: int) -> int | None:
        """The memory address behind a file offset; None where there is none."""
        extents = self.layout.extents
        low, high = 0, len(extents)
        while high - low > 1:
            middle = (low + high) // 2
            if extents[middle].offset <= offset:
                low = middle
            else:
                high = middle
        if low == high or extents[low].fill not in (Fill.MEMORY, Fill.MASKED):
            return None
        return extents[low].at + (offset - extents[low].offset)
