# SPDX-License-Identifier: MIT
"""A reader that remembers: what it asks for, and how often."""

from __future__ import annotations

import pytest
from support.space import Space

from oldmemfs.errors import FaultError
from oldmemfs.kernel.virtual import Remembered

CHUNK = 1 << 16


class Counted(Space):
    """A space that counts its reads."""

    reads = 0

    def read(self, virt: int, size: int) -> bytes:
        self.reads += 1
        return super().read(virt, size)


def test_one_read_a_chunk_and_few_chunks() -> None:
    space = Counted(regions={0: bytearray(range(256)) * (CHUNK * 100 // 256)})
    remembered = Remembered(space)
    assert [remembered.number(at, 1) for at in range(1000)] == [at % 256 for at in range(1000)]
    assert space.reads == 1
    for base in range(0, CHUNK * 100, CHUNK):
        remembered.read(base, 1)
    assert space.reads == 100
    remembered.read(0, 1)  # forgotten: what is remembered is bounded
    assert space.reads == 101


def test_a_chunk_that_is_not_whole() -> None:
    space = Space(regions={CHUNK + 0x10: bytearray(b"12345678")})
    remembered = Remembered(space)
    assert remembered.number(CHUNK + 0x10, 2) == 0x3231
    assert remembered.pointer(CHUNK + 0x10) == 0x3837363534333231
    with pytest.raises(FaultError):
        remembered.read(CHUNK + 0x10, 9)


def test_addresses_wrap() -> None:
    space = Space(4, big_endian=True, regions={0x1000: bytearray(b"\0\0\1\2")})
    remembered = Remembered(space)
    assert remembered.pointer(0x1_0000_1000) == 0x102
    assert remembered.pointer(0x1000 - (1 << 32)) == 0x102
