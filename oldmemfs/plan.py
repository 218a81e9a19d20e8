"""Plan: a layout laid over a memory, composed once into one table that C reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .layout import Fill, Layout
from .table import Kind, Row, Table

if TYPE_CHECKING:
    from .memory import Memory


class Plan:
    """A file that can be read: ``size`` bytes, known before anyone copies it."""

    def __init__(self, layout: Layout, memory: Memory) -> None:
        rows: list[Row] = []
        for e in layout.extents:
            if e.fill is Fill.MEMORY:
                rows.extend(memory.rows(e.at, e.at + e.size, e.offset))
            elif e.fill is Fill.MASKED:
                rows.extend(
                    row._replace(mask=e.mask + row.start - e.offset)
                    for row in memory.rows(e.at, e.at + e.size, e.offset)
                )
            elif e.fill is Fill.BYTES:
                rows.append(Row(e.offset, e.size, Kind.BYTES, e.at))
            else:
                rows.append(Row(e.offset, e.size, Kind.ZERO))
        self.layout = layout
        self.table = Table(rows, layout.data, memory.windows, layout.mask)
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
