# SPDX-License-Identifier: MIT
"""The guest's own tools, on the host: what they compare with must not be wrong itself."""

from __future__ import annotations

import random
from array import array
from itertools import pairwise
from typing import TYPE_CHECKING

from .guest.comparison import HERE, HIDDEN
from .guest.firstlook import as_vmcore_dmesg
from .guest.pageflags import CHANGED, KERNEL, OUT, SLAB, TABLE, TAIL, count, understood, unlike
from .guest.pages import pattern
from .guest.referees import Bitmap
from .guest.search import search

if TYPE_CHECKING:
    from pathlib import Path


def test_runs_of_a_bitmap() -> None:
    numbers = random.Random(1)
    for _ in range(50):
        pieces = [bytes([numbers.choice((0, 255, 7, 0x81))]) * numbers.randrange(9) for _ in "1234"]
        bitmap = Bitmap(b"".join(pieces))
        first, end = numbers.randrange(20), numbers.randrange(20, 300)
        runs = list(bitmap.runs(first, end))
        assert [pfn for a, b, _ in runs for pfn in range(a, b)] == list(range(first, end))
        assert all((pfn in bitmap) == value for a, b, value in runs for pfn in range(a, b))
        assert all(one[2] != other[2] for one, other in pairwise(runs))


def test_a_pattern_is_found_at_every_place(tmp_path: Path) -> None:
    page = pattern("anon").ljust(48, b"\0")
    for at in (0, 1, (1 << 20) - 1, (1 << 20) - 33, (1 << 20) - 47, (1 << 20) - 48, 1 << 20):
        data = bytearray(at + 100)
        data[at : at + 48] = page
        (tmp_path / "file").write_bytes(data)
        assert search(str(tmp_path / "file")) == ({"anon": 1}, len(data))
    (tmp_path / "file").write_bytes(bytes(3) + page[:32])
    assert search(str(tmp_path / "file")) == ({"unnamed": 1}, 35)
    (tmp_path / "file").write_bytes(bytes(3) + page[:31])
    assert search(str(tmp_path / "file")) == ({}, 34)


def test_makedumpfiles_dialect() -> None:
    theirs = (
        b"[    1.000001] one\n               two\n"
        b"[    1.000002] [      T1] one\n                          two \\xffffffe9\n"
    )
    assert as_vmcore_dmesg(theirs) == (b"[    1.000001] one\ntwo\n[    1.000002] one\ntwo \\xe9\n")


def test_what_page_flags_say() -> None:
    slab, lru, anon, head, tail, none, table = (1 << bit for bit in (7, 5, 12, 15, 16, 20, 26))
    pairs = [
        (0, 0, KERNEL),
        (slab | head, slab | head, KERNEL | SLAB),
        (tail | anon, tail, KERNEL | SLAB | TAIL),  # what a tail says is not its own
        (tail, tail, KERNEL | SLAB | TAIL),
        (lru | head, lru | head | 4, OUT),
        (tail | slab, tail | slab, OUT | TAIL),
        (slab | anon, slab, KERNEL | SLAB),
        (lru, slab | head, CHANGED),
        (tail, tail, CHANGED | TAIL),
        (0, tail, CHANGED),
        (none, none, 0),
        (table, table, KERNEL | TABLE),
    ]
    said = understood(
        array("Q", [one for one, _, _ in pairs]), array("Q", [b for _, b, _ in pairs])
    )
    assert list(said) == [word for _, _, word in pairs]
    here, hidden = bytes([HERE]) * len(said), bytes([HIDDEN]) * len(said)
    assert unlike(said, here) == [4, 5]
    assert unlike(said, hidden) == [0, 1, 2, 3, 6, 11]
    assert unlike(said, bytes(len(said))) == []
    assert count(said, here[:3], SLAB | TAIL) == 1
    assert count(said, bytes(len(said)), KERNEL) == 0
