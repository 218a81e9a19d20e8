# SPDX-License-Identifier: MIT
"""The bitmap of kept pages, its runs, and reads that are masked by it."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oldmemfs.errors import FormatError, OldmemError, ShortageError
from oldmemfs.host import meminfo
from oldmemfs.maps.layout import Layout
from oldmemfs.maps.memory import Memory, Run
from oldmemfs.maps.pagemask import MAX_PAGES, PageMask, pages_of
from oldmemfs.maps.plan import Plan
from oldmemfs.ranges import Range, union

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = 4096


def bitmap(ranges: list[Range], clear: set[int]) -> PageMask:
    kept = PageMask(ranges, 12)
    for pfn in clear:
        bit = kept.bit(pfn)
        assert bit is not None
        kept.bits[bit // 8] &= ~(1 << bit % 8)
    return kept


def runs_of(pfns: list[int], gap: int, ranges: list[Range]) -> list[Range]:
    """The model: joined over less than ``gap`` pages, never over a border of memory."""
    found: list[Range] = []
    for r in ranges:
        inside: list[Range] = []
        for p in (p for p in pfns if r.start <= p < r.end):
            if inside and p - inside[-1].end < gap:
                inside[-1] = Range(inside[-1].start, p + 1)
            else:
                inside.append(Range(p, p + 1))
        found += inside
    return found


RANGES = st.lists(st.tuples(st.integers(0, 700), st.integers(1, 200)), min_size=1, max_size=4).map(
    lambda pairs: union(Range(a, a + n) for a, n in pairs)
)


@settings(deadline=None)
@given(data=st.data(), ranges=RANGES, gap=st.integers(1, 70))
def test_runs_are_the_models(data: st.DataObject, ranges: list[Range], gap: int) -> None:
    everything = [p for r in ranges for p in range(*r)]
    clear = data.draw(st.sets(st.sampled_from(everything)))
    some = Range(*sorted(data.draw(st.tuples(st.integers(0, 900), st.integers(0, 900)))))
    kept = bitmap(ranges, clear)
    pfns = [p for p in everything if p not in clear]
    inside = [p for p in pfns if some.start <= p < some.end]
    assert kept.runs(some, gap) == runs_of(inside, gap, ranges)
    assert kept.count_runs(some, gap) == len(runs_of(inside, gap, ranges))
    assert kept.count() == len(pfns)
    assert [p for p in range(-1, 1000) if p in kept] == pfns


@settings(deadline=None)
@given(data=st.data(), ranges=RANGES)
def test_restore_sets_what_was_lost(data: st.DataObject, ranges: list[Range]) -> None:
    everything = [p for r in ranges for p in range(*r)]
    clear = data.draw(st.sets(st.sampled_from(everything)))
    some = Range(*sorted(data.draw(st.tuples(st.integers(0, 900), st.integers(0, 900)))))
    but = union(Range(p, p + 3) for p in data.draw(st.sets(st.integers(0, 900), max_size=3)))
    kept = bitmap(ranges, clear)
    spared = {p for r in but for p in range(*r)}
    lost = {p for p in clear if some.start <= p < some.end} - spared
    assert {p for r in kept.restore(some, but) for p in range(*r)} == lost
    assert {p for p in everything if p not in kept} == clear - lost


@settings(deadline=None)
@given(ranges=RANGES, unit=st.sampled_from((1, 2, 8, 512)), ends=st.tuples(
    st.integers(0, 900), st.integers(0, 900)))  # fmt: skip
def test_blocks_hold_all_that_has_a_bit(
    ranges: list[Range], unit: int, ends: tuple[int, int]
) -> None:
    """Whole blocks around pages with a bit, and none beside: sorted and apart."""
    some = Range(*sorted(ends))
    near = {p // unit for r in ranges for p in range(*r) if some.start <= p < some.end}
    blocks = list(PageMask(ranges, 12).blocks(some, unit))
    assert [p for r in blocks for p in range(*r)] == [p for p in range(*some) if p // unit in near]
    assert all(a.end < b.start for a, b in pairwise(blocks))


@settings(deadline=None)
@given(clear=st.tuples(st.integers(0, 200), st.integers(0, 200)), pages=st.tuples(
    st.integers(0, 200), st.integers(0, 200)))  # fmt: skip
def test_restore_of_long_stretches(clear: tuple[int, int], pages: tuple[int, int]) -> None:
    kept = PageMask([Range(0, 200)], 12)
    gone, back = Range(*sorted(clear)), Range(*sorted(pages))
    kept.clear(gone)
    lost = kept.restore(back)
    both = {*range(*gone)} & {*range(*back)}
    assert {p for r in lost for p in range(*r)} == both
    assert {p for p in range(200) if p not in kept} == {*range(*gone)} - both


@pytest.fixture(scope="module")
def memory() -> Iterator[Memory]:
    """Every page is full of its own number, so that each byte tells where it is from."""
    fd = os.memfd_create("memory")
    os.write(fd, b"".join((p % 255 + 1).to_bytes() * PAGE for p in range(1024)))
    yield Memory((Run(0, 1024 * PAGE, fd, 0),))
    os.close(fd)


@settings(deadline=None)
@given(data=st.data(), clear=st.sets(st.integers(0, 1023)), start=st.integers(0, 4 << 20),
       size=st.integers(1, 1 << 20))  # fmt: skip
def test_no_byte_of_an_excluded_page_is_read(
    memory: Memory, data: st.DataObject, clear: set[int], start: int, size: int
) -> None:
    """A masked extent at any offset, read at any offset."""
    kept = bitmap([Range(0, 1024)], clear)
    size = min(size, 1024 * PAGE - start)
    layout = Layout(mask=kept)
    layout.bytes(b"header", "header")
    if size:
        layout.masked(start, size, "masked")
    plan = Plan(layout, memory)
    assert plan.size == 6 + size
    at = data.draw(st.integers(0, plan.size))
    length = data.draw(st.integers(0, plan.size - at))
    expected = (b"header" + b"".join(
        bytes(1) if p // PAGE in clear else (p // PAGE % 255 + 1).to_bytes()
        for p in range(start, start + size)
    ))[at : at + length] if size < 3 * PAGE else None  # fmt: skip
    found, faults = plan.table.read(at, length)
    assert not faults
    if expected is not None:
        assert found == expected
    for pfn in range(start // PAGE, (start + size - 1) // PAGE + 1):
        first = max(pfn * PAGE - start + 6, at, 6)
        last = min((pfn + 1) * PAGE - start + 6, at + length)
        if first < last:
            want = 0 if pfn in clear else pfn % 255 + 1
            assert set(found[first - at : last - at]) == {want}


def test_an_excluded_page_is_not_even_touched() -> None:
    """It may be poisoned: no fault is reported for it, but one for its kept neighbour."""
    kept = bitmap([Range(0, 4)], {1, 2})
    layout = Layout(mask=kept)
    layout.masked(0, 4 * PAGE, "nothing there")
    fd = os.memfd_create("short")
    os.ftruncate(fd, PAGE)
    try:
        _, faults = Plan(layout, Memory((Run(0, 4 * PAGE, fd, 0),))).table.read(0, 4 * PAGE)
    finally:
        os.close(fd)
    assert [tuple(f) for f in faults] == [(3 * PAGE, PAGE)]


def test_masked_pages_must_have_bits() -> None:
    layout = Layout(mask=PageMask([Range(0, 2)], 12))
    with pytest.raises(AssertionError, match=r"a page without a bit in 0x1000\.\.0x3000"):
        layout.masked(PAGE, 2 * PAGE, "too long")


def test_more_memory_than_there_is() -> None:
    with pytest.raises(FormatError, match="0x400000001000 bytes of memory: more than any machine"):
        PageMask([Range(0, MAX_PAGES + 1)], 12)
    with pytest.raises(ShortageError, match="takes 2048 MiB and 0 MiB are left here"):
        PageMask([Range(0, MAX_PAGES)], 12, 0)


def test_restore_of_every_stretch() -> None:
    """Any first and last bit of forty: those between are set again, and no other."""
    for start in range(40):
        for end in range(start, 41):
            kept = PageMask([Range(0, 48)], 12)
            kept.clear(Range(0, 48))
            assert kept.restore(Range(start, end)) == ([Range(start, end)] if end > start else [])
            assert [p for p in range(48) if p in kept] == list(range(start, end))


def test_counts_of_a_part() -> None:
    """A large mask in two pieces, with a hole in the bits: counted whole and by parts."""
    kept = PageMask([Range(0, 1 << 20), Range(1 << 21, 3 << 20)], 12)
    kept.clear(Range(1000, 2000))
    assert kept.count() == (1 << 21) - 1000
    assert kept.count(Range(0, 0)) == 0
    assert kept.count(Range(1500, 2500)) == 500
    assert kept.count(Range((1 << 20) - 5, (1 << 21) + 7)) == 12
    assert kept.count(Range(1 << 21, 3 << 20)) == 1 << 20


def test_blocks_that_touch_are_one() -> None:
    assert list(PageMask([Range(7, 8), Range(9, 10)], 12).blocks(Range(0, 99), 8)) == [Range(0, 16)]


def test_the_bits_must_fit_into_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A capture kernel has 100 MB: whoever takes more is ended, and the dump is lost."""
    monkeypatch.setattr("oldmemfs.host.meminfo.read_text", lambda _: "MemAvailable:    3072 kB\n")
    spare = meminfo.available()
    assert PageMask([Range(0, 3 << 23)], 12, spare).pages == 3 << 23
    with pytest.raises(OldmemError, match="takes 4 MiB and 3 MiB are left here: give the"):
        PageMask([Range(0, 4 << 23)], 12, spare)


def test_partial_pages_count() -> None:
    assert pages_of([Range(0x1000, 0x9FC00), Range(0x100000, 0x100001)], 12) == [
        Range(1, 0xA0), Range(0x100, 0x101),
    ]  # fmt: skip
    assert pages_of([Range(0xFFF, 0x2000), Range(0x4000, 0x5000)], 12) == [
        Range(0, 2), Range(4, 5),
    ]  # fmt: skip
