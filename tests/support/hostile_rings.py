# SPDX-License-Identifier: MIT
"""Damaged printk rings: records and sentences come out, or one of two errors."""

from __future__ import annotations

import json

from oldmemfs.errors import FaultError, FormatError
from oldmemfs.kernel.printk import Record, as_json, as_text, read_log
from oldmemfs.kernel.printk.record import MAX_TEXT
from oldmemfs.kernel.vmcoreinfo import Vmcoreinfo
from support import rings
from support.rings import many
from support.space import Space

RINGS = ("lockless", "buffer", "lines")


def check_ring(generation: str, word: int, big_endian: bool, wreck: bytes) -> None:
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
