"""Layout: the offsets of a file -> extents. Contiguous from 0, append-only, prints itself.

::

    file    0          0x1000      0x2000                        size
            |- bytes --|-- zero ---|---- memory, at 0x1000000 ----|

Knows nothing of where memory lives: that is a ``Plan``'s part.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Fill(Enum):
    """What an extent holds."""

    BYTES = "bytes"  # at ``at`` of the layout's own data
    MEMORY = "memory"  # at the address ``at`` of a memory
    ZERO = "zero"


class Extent(NamedTuple):
    """``[offset, offset + size)`` of the file; ``label`` is for people."""

    offset: int
    size: int
    fill: Fill
    at: int
    label: str


class Layout:
    """A file, drawn."""

    def __init__(self) -> None:
        self.extents: list[Extent] = []
        self.size = 0
        self._data: list[bytes] = []
        self._data_size = 0

    @property
    def data(self) -> bytes:
        """What the ``BYTES`` extents point into."""
        return b"".join(self._data)

    def bytes(self, data: bytes, label: str) -> None:
        """Append these bytes."""
        self._append(len(data), Fill.BYTES, self._data_size, label)
        self._data.append(data)
        self._data_size += len(data)

    def memory(self, phys: int, size: int, label: str) -> None:
        """Append ``size`` bytes of memory at ``phys``."""
        self._append(size, Fill.MEMORY, phys, label)

    def zero(self, size: int, label: str) -> None:
        """Append ``size`` zeros."""
        self._append(size, Fill.ZERO, 0, label)

    def _append(self, size: int, fill: Fill, at: int, label: str) -> None:
        assert min(size, at) >= 0, f"{label}: size {size:#x} at {at:#x}"
        if size:
            self.extents.append(Extent(self.size, size, fill, at, label))
            self.size += size

    def describe(self) -> str:
        """One line an extent: offset, size, fill, address, label."""
        lines = []
        for e in self.extents:
            at = f"{e.at:#018x}" if e.fill is Fill.MEMORY else " " * 18
            lines.append(f"{e.offset:#014x} {e.size:#14x} {e.fill.value:<6} {at} {e.label}\n")
        return "".join(lines) + f"{self.size:#014x} {'end':>14}\n"
