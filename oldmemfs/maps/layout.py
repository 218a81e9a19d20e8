"""Layout: the offsets of a file -> extents. Contiguous from 0, append-only, prints itself.

::

    file    0          0x1000      0x2000                        size
            |- bytes --|-- zero ---|---- memory, at 0x1000000 ----|

Knows nothing of where memory lives: that is a ``Plan``'s part.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from ..ranges import Range

if TYPE_CHECKING:
    from .pagemask import PageMask


class Fill(Enum):
    """What an extent holds."""

    BYTES = "bytes"  # at ``at`` of the layout's own data
    MEMORY = "memory"  # at the address ``at`` of a memory
    MASKED = "masked"  # the same, and what the layout's mask leaves out reads as zeros
    ZERO = "zero"


class Extent(NamedTuple):
    """``[offset, offset + size)`` of the file; ``label`` is for people."""

    offset: int
    size: int
    fill: Fill
    at: int
    label: str
    mask: int = -1  # ``MASKED``: where it starts among the bytes of the pages that have a bit


class Layout:
    """A file, drawn. ``mask`` has a bit for each page of its ``MASKED`` extents."""

    def __init__(self, mask: PageMask | None = None) -> None:
        self.mask = mask
        self.extents: list[Extent] = []
        self.size = 0
        self._data: list[bytes] = []
        self._data_size = 0

    @property
    def data(self) -> bytes:
        """What the ``BYTES`` extents point into."""
        self._data = [b"".join(self._data)]  # of one piece this makes no copy
        return self._data[0]

    def bytes(self, data: bytes, label: str) -> None:
        """Append these bytes."""
        self._append(len(data), Fill.BYTES, self._data_size, label)
        self._data.append(data)
        self._data_size += len(data)

    def memory(self, phys: int, size: int, label: str) -> None:
        """Append ``size`` bytes of memory at ``phys``."""
        self._append(size, Fill.MEMORY, phys, label)

    def masked(self, phys: int, size: int, label: str) -> None:
        """Append memory at ``phys``, all of it in pages that have a bit in the mask."""
        assert self.mask, f"{label}: masked by nothing"
        shift, stop = self.mask.page_shift, self.size + size
        for ram in self.mask.cut(Range(phys >> shift, ((phys + size - 1) >> shift) + 1)):
            start = max(phys, ram.pfn << shift)
            end = min(phys + size, ram.end << shift)
            self._append(end - start, Fill.MASKED, start, label,
                         (ram.bit << shift) + start - (ram.pfn << shift))  # fmt: skip
        assert self.size == stop, f"{label}: a page without a bit in {phys:#x}..{phys + size:#x}"

    def zero(self, size: int, label: str) -> None:
        """Append ``size`` zeros."""
        self._append(size, Fill.ZERO, 0, label)

    def _append(self, size: int, fill: Fill, at: int, label: str, mask: int = -1) -> None:
        assert min(size, at) >= 0, f"{label}: size {size:#x} at {at:#x}"
        if size:
            self.extents.append(Extent(self.size, size, fill, at, label, mask))
            self.size += size

    def describe(self) -> str:
        """One line an extent: offset, size, fill, address, label."""
        lines = []
        for e in self.extents:
            at = f"{e.at:#018x}" if e.fill in (Fill.MEMORY, Fill.MASKED) else " " * 18
            lines.append(f"{e.offset:#014x} {e.size:#14x} {e.fill.value:<6} {at} {e.label}\n")
        return "".join(lines) + f"{self.size:#014x} {'end':>14}\n"
