# SPDX-License-Identifier: MIT
"""The lockless ring, whole and broken."""

from __future__ import annotations

import json

import pytest
from support import rings
from support.rings import DATA, DESCS, INFOS, ROOT, SOME, Message, expected, many
from support.space import Space
from support.wordsizes import machines

from oldmemfs.errors import FormatError
from oldmemfs.kernel.printk import Log, as_json, as_text, read_log


@machines
@pytest.mark.parametrize("end_rule", [True, False])
@pytest.mark.parametrize("count", [0, 1, 5, 40, 700])
def test_lockless(word: int, big_endian: bool, end_rule: bool, count: int) -> None:
    space = Space(word, big_endian)
    messages = (SOME + many(count))[: count or None] if count else []
    info, standing = rings.lockless(space, messages, end_rule=end_rule)
    log = read_log(space, info)
    first = len(messages) - len(standing)
    assert log == Log(tuple(expected(m, first + i) for i, m in enumerate(standing)))


@machines
def test_lockless_ids_wrap(word: int, big_endian: bool) -> None:
    space = Space(word, big_endian)
    first = (1 << 8 * word - 2) - 20
    info, standing = rings.lockless(space, many(50), first_id=first)
    assert [r.text for r in read_log(space, info).records] == [m.text for m in standing]


@machines
def test_lockless_block_ends_where_the_ring_does(word: int, big_endian: bool) -> None:
    space = Space(word, big_endian)
    fill = Message(b"a" * (0x800 - word))
    last = Message(b"b" * (0x800 - word))
    info, standing = rings.lockless(space, [fill, last])
    assert space.read(DATA + 0xFFF, 1) == b"b"
    assert [r.text for r in read_log(space, info).records] == [m.text for m in standing]
    assert len(standing) == 2


def test_lockless_text_that_found_no_room() -> None:
    space = Space()
    lost = Message(b"never kept", 5, failed=True)
    info, _ = rings.lockless(space, [Message(b"one"), lost, Message(b"", 6), Message(b"two", 7)])
    log = read_log(space, info)
    assert [(r.text, r.lost) for r in log.records] == [
        (b"one", False), (b"", True), (b"", False), (b"two", False)
    ]  # fmt: skip
    assert log.skipped == ("texts for which the ring had no room: 1, first id 0x2",)
    assert as_text(log).split(b"\n")[1:3] == [b"[    0.000000] ", b"[    0.000000] "]
    assert json.loads(as_json(log).splitlines()[1])["text"] is None


def test_lockless_reused_descriptor() -> None:
    space = Space()
    info, _ = rings.lockless(space, many(6))
    space.put(DESCS + 24 * 3, "P", 2 << 62 | 64 + 3)  # id 3's slot serves id 67 now
    space.put(DESCS + 24 * 4, "P", 0 << 62 | 4)
    space.put(DESCS + 24 * 5, "P", 3 << 62 | 5)
    log = read_log(space, info)
    assert [r.seq for r in log.records] == [0, 1, 5]
    assert log.skipped == (
        "records still being written: 1, first id 0x4",
        "descriptors that belong to another id: 1, first id 0x3",
    )


def test_lockless_text_of_another() -> None:
    space = Space()
    info, _ = rings.lockless(space, [Message(b"one"), Message(b"two")])
    space.put(DATA + 16, "P", 99)
    log = read_log(space, info)
    assert [(r.text, r.lost) for r in log.records] == [(b"one", False), (b"", True)]
    assert log.skipped == ("texts overwritten by another record's: 1, first id 0x2",)


def test_lockless_text_shorter_than_it_says() -> None:
    space = Space()
    info, _ = rings.lockless(space, [Message(b"12345678"), Message(b"next")])
    space.put(INFOS + 88 + 16, "H", 0xFFFF)
    assert [r.text for r in read_log(space, info).records] == [b"12345678", b"next"]


@pytest.mark.parametrize(
    ("start", "size", "texts", "reason"),
    [
        (DESCS + 24 * 2, 24, [0, 2], "descriptors that cannot be read: 1, first id 0x2"),
        (INFOS + 88 * 2, 8, [0, 2], "descriptors that cannot be read: 1, first id 0x2"),
        (DATA + 0x30, 4, [0, None, 2], "texts that cannot be read: 1, first id 0x2"),
    ],
)
def test_lockless_with_a_hole(start: int, size: int, texts: list[int | None], reason: str) -> None:
    space = Space()
    messages = [Message(b"%d" % i * 20) for i in range(3)]
    info, _ = rings.lockless(space, messages)
    space.holes.append((start, start + size))
    log = read_log(space, info)
    assert [None if r.lost else int(r.text[:1]) for r in log.records] == texts
    assert log.skipped == (reason,)


def test_lockless_ids_that_never_meet() -> None:
    space = Space()
    info, standing = rings.lockless(space, many(20))
    space.put(ROOT + 0x100 + 4 * 8, "P", 0x1234567890ABCD)  # tail_id
    log = read_log(space, info)
    assert [r.text for r in log.records] == [m.text for m in standing]
    assert log.skipped[0].startswith("ids further apart than the ring is long: 1")


@pytest.mark.parametrize("field", [0x100, 0x100 + 6 * 8])
@pytest.mark.parametrize("bits", [32, 64, 0xFFFFFFFF])
def test_lockless_ring_too_large(field: int, bits: int) -> None:
    space = Space()
    info, _ = rings.lockless(space, many(3))
    space.put(ROOT + field, "I", bits)
    with pytest.raises(FormatError, match="is too large"):
        read_log(space, info)


def test_lockless_overlapping_texts_are_bounded() -> None:
    space = Space()
    info, _ = rings.lockless(space, [Message(b"y" * 8)] * 30)
    for slot in range(1, 31):  # each claims all from its own id to the end of the ring
        space.put(DATA + 8 * slot, "P", slot)
        space.put(DESCS + 24 * slot + 8, "P", 8 * slot)
        space.put(DESCS + 24 * slot + 16, "P", 0x1000)
        space.put(INFOS + 88 * slot + 16, "H", 0xFFFF)
    log = read_log(space, info)
    assert [r.seq for r in log.records] == [29]
    assert log.skipped == ("texts longer than the ring, all records before: 1, first id 0x1d",)
