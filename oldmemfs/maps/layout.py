# SPDX-License-Identifier: MIT
"""Layout: what a file consists of, as extents without gaps from offset 0 on.

::

    file    0          0x1000      0x2000                        size
            |- bytes --|-- zero ---|---- memory, at 0x1000000 ----|

Extents are only ever appended. A layout holds memory addresses; where the bytes at an address are
read from is added by ``Plan``.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from ..ranges import Range

if TYPE_CHECKING:
    from .pagemask import PageMask


class Fill(Enum):
    """What an extent holds."""

    BYTES = "bytes"  # a piece of ``Layout.data``, from ``at`` on
    MEMORY = "memory"  # memory, from the address ``at`` on
    MASKED = "masked"  # the same, but pages whose bit in ``Layout.mask`` is clear read as zeros
    ZERO = "zero"  # zeros; ``at`` is 0


class Extent(NamedTuple):
    """``[offset, offset + size)`` of the file, in bytes; ``label`` is for ``describe``."""

    offset: int
    size: int
    fill: Fill
    at: int
    label: str
    mask: int = -1  # only ``MASKED``: bit number * page size, plus where it starts in that page


class Layout:
    """The extents of one file, in order, and the bytes that its ``BYTES`` extents show.

    ``mask`` has a bit for each page of its ``MASKED`` extents. ``size`` is in bytes.
    """

    def __init__(self, mask: PageMask | None = None) -> None:
        self.mask = mask
        self.extents: list[Extent] = []
        self.size = 0
        self._data: list[bytes] = []
        self._data_size = 0

    @property
    def data(self) -> bytes:
        """The bytes that ``BYTES`` extents are pieces of."""
        self._data = [b"".join(self._data)]  # joining a list of one does not copy
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
        """Append ``size`` bytes of memory at ``phys``; each page of it must have a bit in ``mask``.

        Runs of bits that touch in memory but not in the mask become extents of their own.
        """
        assert self.mask, f"{label}: the layout has no mask"
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
        """A line for each extent (offset, size, fill, address, label) and one for the end."""
        lines = []
        for e in self.extents:
            at = f"{e.at:#018x}" if e.fill in (Fill.MEMORY, Fill.MASKED) else " " * 18
            lines.append(f"{e.offset:#014x} {e.size:#14x} {e.fill.value:<6} {at} {e.label}\n")
        return "".join(lines) + f"{self.size:#014x} {'end':>14}\n"
