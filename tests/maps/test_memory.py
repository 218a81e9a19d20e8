# SPDX-License-Identifier: MIT
"""Runs: placing, cutting and reading them."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.image import memory, pattern

from oldmemfs.errors import FaultError
from oldmemfs.maps.memory import Memory, Run, place
from oldmemfs.ranges import Range

drawn = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10)), max_size=8)


@given(drawn)
def test_of_runs_that_overlap_the_first_keeps_its_place(spans: list[tuple[int, int]]) -> None:
    runs = [Run(phys, size, fd, 100 * fd) for fd, (phys, size) in enumerate(spans)]
    expected: dict[int, tuple[int, int]] = {}
    for run in runs:
        for at in range(run.phys, run.end):
            expected.setdefault(at, (run.fd, run.offset + at - run.phys))
    placed = place(runs)
    got = {p: (r.fd, r.offset + p - r.phys) for r in placed for p in range(r.phys, r.end)}
    assert got == expected
    assert sum(r.size for r in placed) == len(expected)


def test_many_overlapping_runs_take_no_quadratic_time() -> None:
    small = [Run(2 * i, 1, 3, 0) for i in range(20000)]
    large = [Run(0, 50000 + i, 4, 0) for i in range(20000)]
    assert sum(r.size for r in place([*small, *large])) == 69999


def test_a_piece_in_no_run_is_a_range() -> None:
    held = Memory((Run(10, 10, 3, 0), Run(30, 10, 3, 10)))
    assert list(held.pieces(5, 35)) == [
        Range(5, 10), Run(10, 10, 3, 0), Range(20, 30), Run(30, 5, 3, 10),
    ]  # fmt: skip


def test_read_gives_all_or_the_first_bad_address() -> None:
    data = pattern(8192)
    held = memory(data)
    assert held.read(100, 5000) == data[100:5100]
    with pytest.raises(FaultError, match="0x2000"):
        held.read(8000, 1000)
    with pytest.raises(FaultError):
        held.read(-1, 1)
    os.truncate(f"/proc/self/fd/{held.runs[0].fd}", 4096)
    with pytest.raises(FaultError) as caught:
        held.read(0, 8192)
    assert caught.value.phys == 4096
