"""Broken rings of all generations: records and sentences come out, or one of two errors."""

from __future__ import annotations

import json

import rings
from budget import cpu_seconds
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rings import many
from space import Space

from oldmemfs.errors import FaultError, FormatError
from oldmemfs.printk import Record, as_json, as_text, read_log
from oldmemfs.printk.record import MAX_TEXT
from oldmemfs.vmcoreinfo import Vmcoreinfo

GENERATIONS = ("lockless", "buffer", "lines")


def check(generation: str, word: int, big_endian: bool, wreck: bytes) -> None:
    """Write a ring, let ``wreck`` say what becomes of it, and read it."""
    space = Space(word, big_endian)
    if generation == "lockless":
        info, _ = rings.lockless(space, many(20))
    elif generation == "buffer":
        info, _ = rings.buffer(space, many(20))
    else:
        info, _ = rings.lines(space, b"<6>[    1.000000] a line\n" * 50, size=0x400)
    info = damage(space, info, wreck)
    try:
        log = read_log(space, info)
    except (FormatError, FaultError):
        return
    assert all(type(record) is Record for record in log.records)
    assert sum(len(record.text) for record in log.records) <= MAX_TEXT
    assert len(log.skipped) < 20
    assert as_text(log).count(b"\n") >= len(log.records) + len(log.skipped)
    lines = as_json(log).splitlines()
    assert len(lines) == len(log.records) + len(log.skipped)
    for line in lines:
        json.loads(line)


def damage(space: Space, info: Vmcoreinfo, wreck: bytes) -> Vmcoreinfo:
    """Six bytes a blow: what to hit, where, and with what."""
    regions = list(space.regions.values())
    for i in range(0, len(wreck) - 5, 6):
        target, high, low, *junk = wreck[i : i + 6]
        if target & 0x80:
            lines = info.text.split(b"\n")
            at = low % len(lines)
            lines[at] = lines[at].partition(b"=")[0] + b"=%d" % int.from_bytes(junk, "little")
            info = Vmcoreinfo.parse(b"\n".join(lines))
        elif target & 0x40:
            base = list(space.regions)[target % len(regions)]
            start = base + (high << 8 | low)
            space.holes.append((start, start + 1 + junk[0]))
        else:
            region = regions[target % len(regions)]
            at = (high << 8 | low) % len(region)
            region[at : at + 3] = bytes(junk)[: len(region) - at]
    return info


@settings(max_examples=400)
@given(st.sampled_from(GENERATIONS), st.sampled_from((4, 8)), st.booleans(), st.binary())
@example("lockless", 8, False, b"\0\1\0\x1f\0\0")  # 2^31 descriptors
@example("lockless", 8, False, b"\0\1\0\x1f\0\0" + b"\0\1\x20\0\0\0")
def test_wrecks(generation: str, word: int, big_endian: bool, wreck: bytes) -> None:
    with cpu_seconds(5):
        check(generation, word, big_endian, wreck)


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
