# SPDX-License-Identifier: MIT
"""Half-open arithmetic against sets of integers."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from oldmemfs.ranges import Range, intersect, round_down, round_up, subtract, union

spans = st.tuples(st.integers(0, 40), st.integers(0, 12)).map(lambda t: Range(t[0], t[0] + t[1]))


def points(ranges: object) -> set[int]:
    return {p for r in ranges for p in range(r.start, r.end)}  # type: ignore[attr-defined]


@given(st.lists(spans))
def test_union_keeps_the_points_and_joins_what_touches(ranges: list[Range]) -> None:
    joined = union(ranges)
    assert points(joined) == points(ranges)
    assert all(a.end < b.start for a, b in pairwise(joined))
    assert all(r.size > 0 for r in joined)


@given(spans, st.lists(spans))
def test_subtract_leaves_the_other_points(whole: Range, holes: list[Range]) -> None:
    left = list(subtract(whole, union(holes)))
    assert points(left) == points([whole]) - points(holes)
    assert all(r.size > 0 for r in left)


@given(spans, spans)
def test_intersect_shares_points(a: Range, b: Range) -> None:
    both = intersect(a, b)
    assert (points([both]) if both else set()) == points([a]) & points([b])


@given(st.integers(0, 1 << 65), st.sampled_from([1, 4, 4096, 65536]))
def test_rounding(value: int, unit: int) -> None:
    assert round_down(value, unit) <= value <= round_up(value, unit)
    assert round_up(value, unit) - round_down(value, unit) in (0, unit)
    assert round_down(value, unit) % unit == round_up(value, unit) % unit == 0
