# SPDX-License-Identifier: MIT
"""The record buffer, whole and broken."""

from __future__ import annotations

import pytest
from support import rings
from support.rings import DATA, ROOT, SOME, expected, many
from support.space import Space
from support.wordsizes import machines

from oldmemfs.errors import FormatError
from oldmemfs.kernel.printk import Log, read_log


@machines
@pytest.mark.parametrize("count", [0, 1, 5, 40, 700])
@pytest.mark.parametrize(
    ("name", "callers", "align"),
    [("log", False, 8), ("printk_log", False, 4), ("printk_log", True, 4), ("printk_log", True, 8)],
)
def test_buffer(
    word: int, big_endian: bool, count: int, name: str, callers: bool, align: int
) -> None:
    space = Space(word, big_endian)
    messages = (SOME + many(count))[:count]
    info, standing = rings.buffer(space, messages, name=name, callers=callers, align=align)
    records = [expected(m, i, caller=callers) for i, (_, m) in enumerate(standing)]
    assert read_log(space, info) == Log(tuple(records))


def test_buffer_finds_its_way_after_a_wreck() -> None:
    space = Space()
    info, standing = rings.buffer(space, many(40), size=0x10000)
    wreck, good = standing[10][0], standing[12][0]
    space.write(DATA + wreck, b"\xa5" * (good - wreck))
    log = read_log(space, info)
    assert [r.text for r in log.records] == [m.text for i, (_, m) in enumerate(standing)
                                             if i not in (10, 11)]  # fmt: skip
    assert log.skipped == (f"broken stretches: 1, first {wreck:#x}..{good:#x}",)


def test_buffer_does_not_believe_one_header() -> None:
    space = Space()
    info, standing = rings.buffer(space, many(40), size=0x10000)
    wreck, good = standing[10][0], standing[14][0]
    space.write(DATA + wreck, b"\xa5" * (good - wreck))
    for place, value in ((8, 32), (10, 16), (12, 0)):
        space.put(DATA + wreck + 16 + place, "H", value)
    log = read_log(space, info)
    assert log.skipped == (f"broken stretches: 1, first {wreck:#x}..{good:#x}",)
    assert len(log.records) == 36


def test_buffer_does_not_believe_a_record_with_room_to_spare() -> None:
    space = Space()
    info, standing = rings.buffer(space, many(20))
    at, over = standing[5][0], standing[7][0]
    space.put(DATA + at + 8, "H", over - at)
    log = read_log(space, info)
    assert [r.text for r in log.records] == [m.text for i, (_, m) in enumerate(standing) if i != 5]
    assert log.skipped == (f"broken stretches: 1, first {at:#x}..{standing[6][0]:#x}",)


def test_buffer_finds_its_way_over_a_hole() -> None:
    space = Space()
    info, standing = rings.buffer(space, many(200), size=0x10000)
    hole = (DATA + 0x2000, DATA + 0x3000)
    space.holes.append(hole)
    log = read_log(space, info)
    stands = [
        m.text for at, m in standing
        if DATA + at + 16 + len(m.text) <= hole[0] or DATA + at >= hole[1]
    ]  # fmt: skip
    assert [r.text for r in log.records] == stands
    assert any(sentence.startswith("broken stretches: 1") for sentence in log.skipped)


@pytest.mark.parametrize(("first", "end"), [(0x5000, 0x10), (0x10, 0x5000), (-1, -1)])
def test_buffer_with_lost_indices(first: int, end: int) -> None:
    space = Space()
    info, standing = rings.buffer(space, many(10))
    space.put(ROOT + 20, "I", first & 0xFFFFFFFF)
    space.put(ROOT + 24, "I", end & 0xFFFFFFFF)
    log = read_log(space, info)
    assert [r.text for r in log.records] == [m.text for _, m in standing]
    assert log.skipped[0].startswith("indices outside of the log: 1")


@pytest.mark.parametrize("size", [0, (1 << 31) + 1])
def test_buffer_of_no_size(size: int) -> None:
    space = Space()
    info, _ = rings.buffer(space, many(3))
    space.put(ROOT + 16, "I", size)
    with pytest.raises(FormatError, match="no kernel has such a log"):
        read_log(space, info)
