# SPDX-License-Identifier: MIT
"""Half-open integer ranges ``[start, end)``, of bytes or of pages, and their arithmetic.

All code uses half-open ranges; ``host.iomem`` converts the inclusive ends of /proc/iomem.
"""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_start = attrgetter("start")


class Range(NamedTuple):
    """The integers from ``start`` up to, but not including, ``end``."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """How many integers are in it."""
        return self.end - self.start

    def __str__(self) -> str:
        return f"{self.start:#x}-{self.end:#x}"


def round_down(value: int, unit: int) -> int:
    """The multiple of ``unit`` at or below ``value``."""
    return value - value % unit


def round_up(value: int, unit: int) -> int:
    """The multiple of ``unit`` at or above ``value``."""
    return value + -value % unit


def intersect(a: Range, b: Range) -> Range | None:
    """The range that is in both, or None."""
    start, end = max(a.start, b.start), min(a.end, b.end)
    return Range(start, end) if start < end else None


def union(ranges: Iterable[Range]) -> list[Range]:
    """The union, as sorted, disjoint ranges that do not touch; empty ranges are dropped."""
    joined: list[Range] = []
    for start, end in sorted(r for r in ranges if r.start < r.end):
        if joined and start <= joined[-1].end:
            joined[-1] = Range(joined[-1].start, max(joined[-1].end, end))
        else:
            joined.append(Range(start, end))
    return joined


def subtract(whole: Range, holes: Sequence[Range]) -> Iterator[Range]:
    """The parts of ``whole`` that are in none of ``holes`` (sorted and disjoint), in order.

    ::

        whole   |---------------------|
        holes      |---|     |--|
        left    |--|   |-----|  |-----|
    """
    start = whole.start
    i = max(bisect_right(holes, whole.start, key=_start) - 1, 0)
    while i < len(holes) and (hole := holes[i]).start < whole.end:
        if hole.start > start:
            yield Range(start, hole.start)
        start = max(start, hole.end)
        i += 1
    if start < whole.end:
        yield Range(start, whole.end)
