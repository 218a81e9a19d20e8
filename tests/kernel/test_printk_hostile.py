# SPDX-License-Identifier: MIT
"""Broken rings of all generations: records and sentences come out, or one of two errors."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import rings
from support.budget import cpu_seconds
from support.hostile_rings import RINGS, check_ring
from support.rings import many
from support.space import Space

from oldmemfs.kernel.printk import read_log


@settings(max_examples=400)
@given(st.sampled_from(RINGS), st.sampled_from((4, 8)), st.booleans(), st.binary())
@example("lockless", 8, False, b"\0\1\0\x1f\0\0")  # 2^31 descriptors
@example("lockless", 8, False, b"\0\1\0\x1f\0\0" + b"\0\1\x20\0\0\0")
def test_wrecks(generation: str, word: int, big_endian: bool, wreck: bytes) -> None:
    with cpu_seconds(5):
        check_ring(generation, word, big_endian, wreck)


def test_a_ring_of_endless_descriptors_ends() -> None:
    space = Space()
    info, _ = rings.lockless(space, many(20))
    space.put(rings.ROOT + 0x100, "I", 31)  # count_bits
    space.put(rings.ROOT + 0x100 + 4 * 8, "P", 0x3FFFFFFF00000000)  # tail_id
    log = read_log(space, info)
    assert len(log.records) == 20
    assert any("everything before" in sentence for sentence in log.skipped)


def test_an_endless_buffer_ends() -> None:
    space = Space()
    info, standing = rings.buffer(space, many(20))
    space.put(rings.ROOT + 16, "I", 1 << 31)
    space.put(rings.ROOT + 24, "I", (1 << 31) - 1)
    log = read_log(space, info)
    assert [r.text for r in log.records] == [m.text for _, m in standing]
    assert log.skipped
