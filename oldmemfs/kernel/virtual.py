"""Virtual memory of the dead kernel: what a reader is, and one that remembers what it read.

A reader gives exactly ``size`` bytes at ``virt`` or raises ``FaultError``. The remembering one
holds at most ``_CHUNKS`` chunks; where a chunk cannot be had whole, it asks for no more than it
was asked for. After ``_MANY`` chunks it takes smaller ones: a log whose texts lie all over memory
would have a whole chunk read for each of them.
"""

from __future__ import annotations

import contextlib
from typing import Protocol

from ..errors import FaultError
from ..ranges import round_down

_CHUNK = 1 << 16
_SMALL = 1 << 12
_CHUNKS = 64
_MANY = 1 << 12


class Virtual(Protocol):
    """Bytes by their virtual address, and how the dead machine writes numbers."""

    @property
    def word(self) -> int:
        """Bytes of a pointer: 4 or 8."""

    @property
    def big_endian(self) -> bool:
        """Whether the highest byte of a number comes first."""

    def read(self, virt: int, size: int) -> bytes:
        """Exactly ``size`` bytes; raises ``FaultError``."""


class Remembered:
    """A reader in front of another one, for many small reads of the same tables."""

    def __init__(self, virtual: Virtual) -> None:
        self.word = virtual.word
        self.big_endian = virtual.big_endian
        self._mask = (1 << 8 * self.word) - 1
        self._virtual = virtual
        self._chunks: dict[int, bytes | None] = {}
        self._unit = _CHUNK
        self._fetched = 0

    def read(self, virt: int, size: int) -> bytes:
        """Exactly ``size`` bytes; addresses wrap as the dead machine's do."""
        virt &= self._mask
        base = round_down(virt, self._unit)
        if virt + size <= base + self._unit:
            chunk = self._chunks[base] if base in self._chunks else self._fetch(base)
            if chunk is not None:
                return chunk[virt - base : virt - base + size]
        return self._virtual.read(virt, size)

    def number(self, virt: int, size: int) -> int:
        """An unsigned number of ``size`` bytes."""
        data = self.read(virt, size)
        return int.from_bytes(data, "big" if self.big_endian else "little")

    def pointer(self, virt: int) -> int:
        """An unsigned number as wide as an address."""
        return self.number(virt, self.word)

    def _fetch(self, base: int) -> bytes | None:
        if len(self._chunks) >= _CHUNKS:
            del self._chunks[next(iter(self._chunks))]
        chunk = None
        with contextlib.suppress(FaultError):
            chunk = self._virtual.read(base, self._unit)
        self._fetched += 1
        if self._fetched == _MANY:  # the chunk in hand is still good for this read
            self._unit = _SMALL
            self._chunks.clear()
        else:
            self._chunks[base] = chunk
        return chunk
