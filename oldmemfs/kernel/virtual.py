# SPDX-License-Identifier: MIT
"""Virtual memory of the dead kernel: the interface of a reader, and a reader with a cache.

A reader returns exactly ``size`` bytes at ``virt`` or raises ``FaultError``. ``Remembered`` keeps
at most ``_CHUNKS`` chunks of ``_CHUNK`` bytes; around a chunk that cannot be read as a whole it
reads only what is needed. After ``_MANY`` chunks it continues with chunks of ``_SMALL`` bytes: the
texts of a log may be scattered, and each would cost the read of a large chunk.
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
    """Reads of virtual memory, with the word size and the byte order of the dead machine."""

    @property
    def word(self) -> int:
        """Bytes of a pointer: 4 or 8."""

    @property
    def big_endian(self) -> bool:
        """Whether numbers are stored with the most significant byte first."""

    def read(self, virt: int, size: int) -> bytes:
        """Exactly ``size`` bytes; raises ``FaultError``."""


class Remembered:
    """A cache in front of another reader, for many small reads of the same tables."""

    def __init__(self, virtual: Virtual) -> None:
        self.word = virtual.word
        self.big_endian = virtual.big_endian
        self._mask = (1 << 8 * self.word) - 1
        self._virtual = virtual
        self._chunks: dict[int, bytes | None] = {}
        self._unit = _CHUNK
        self._fetched = 0

    def read(self, virt: int, size: int) -> bytes:
        """Exactly ``size`` bytes; an address beyond the dead machine's word size wraps."""
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
        """The pointer, or unsigned long, at ``virt``."""
        return self.number(virt, self.word)

    def _fetch(self, base: int) -> bytes | None:
        if len(self._chunks) >= _CHUNKS:
            del self._chunks[next(iter(self._chunks))]
        chunk = None
        with contextlib.suppress(FaultError):
            chunk = self._virtual.read(base, self._unit)
        self._fetched += 1
        if self._fetched == _MANY:  # this chunk still serves the read that fetched it
            self._unit = _SMALL
            self._chunks.clear()
        else:
            self._chunks[base] = chunk
        return chunk
