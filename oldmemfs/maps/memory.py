# SPDX-License-Identifier: MIT
"""Memory: where the bytes at each physical address are read from, as sorted, disjoint runs.

::

    physical   0    0x1000      0x9f000   0x100000          0x8000000
               |hole|--- run ---|  hole   |------ run ------|

An address in no run is a hole: reading it is an error. This module knows nothing of kernels, ELF or
FUSE.
"""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from itertools import zip_longest
from operator import attrgetter
from typing import TYPE_CHECKING

from ..errors import FaultError
from ..ranges import Range, round_down, round_up, subtract, union
from .table import Kind, Row, Table, Windows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_phys = attrgetter("phys")
_start = attrgetter("start")
_end = attrgetter("end")
_MAP_UNIT = os.sysconf("SC_PAGE_SIZE")


class Access(Enum):
    """How the bytes of a run are read."""

    WINDOW = Kind.WINDOW  # through an mmap of a bounded part of the descriptor (/dev/mem)
    PREAD = Kind.PREAD
    ZERO = Kind.ZERO  # they are zeros: a PT_LOAD's bytes between p_filesz and p_memsz
    LOST = Kind.HOLE  # they are missing: the file was cut short before them. Reading is a fault


@dataclass(frozen=True, slots=True)
class Run:
    """The bytes ``[phys, phys + size)`` are at ``offset`` of the descriptor ``fd``."""

    phys: int
    size: int
    fd: int
    offset: int
    access: Access = Access.PREAD

    @property
    def end(self) -> int:
        """One past its last physical address."""
        return self.phys + self.size

    def part(self, start: int, end: int, to: int | None = None) -> Run:
        """The run for its addresses ``[start, end)``; at the address ``to`` if that is given."""
        where = start if to is None else to
        return Run(where, end - start, self.fd, self.offset + (start - self.phys), self.access)


def place(runs: Iterable[Run]) -> list[Run]:
    """The runs, cut so that none overlap, sorted. Of two that overlap the earlier one is kept.

    ::

        first       |-------|
        second  |--------------|
        placed  |---|-------|--|
    """
    placed: list[Run] = []
    covered: list[Range] = []  # what `placed` covers: sorted, and joined where it touches
    for run in runs:
        if run.size <= 0:
            continue
        low = bisect_left(covered, run.phys, key=_end)
        high = bisect_right(covered, run.end, key=_start)
        taken = covered[low:high]
        placed += [run.part(*left) for left in subtract(Range(run.phys, run.end), taken)]
        covered[low:high] = union([Range(run.phys, run.end), *taken])
    return sorted(placed, key=_phys)


@dataclass(frozen=True)
class Memory:
    """Sorted, disjoint runs, and the cache of mappings that ``WINDOW`` runs are read through."""

    runs: tuple[Run, ...]
    windows: Windows | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        end = 0
        for run in self.runs:
            assert run.phys >= end < run.end, f"run at {run.phys:#x} overlaps or is empty"
            end = run.end
        if self.windows is None and any(run.access is Access.WINDOW for run in self.runs):
            object.__setattr__(self, "windows", Windows())

    @property
    def end(self) -> int:
        """One past the highest address in any run; 0 without runs."""
        return self.runs[-1].end if self.runs else 0

    @cached_property
    def ranges(self) -> list[Range]:
        """The addresses of all runs, lost ones included, joined where they touch."""
        return union(Range(run.phys, run.end) for run in self.runs)

    @cached_property
    def held(self) -> list[Range]:
        """The addresses of all runs but the lost ones, joined where they touch."""
        return union(Range(r.phys, r.end) for r in self.runs if r.access is not Access.LOST)

    @cached_property
    def zeros(self) -> int:
        """How many bytes the ``ZERO`` runs have."""
        return sum(run.size for run in self.runs if run.access is Access.ZERO)

    def crossed(self, part: Range) -> int:
        """How many runs overlap ``part``."""
        first = bisect_right(self.runs, part.start, key=_end)
        return max(bisect_left(self.runs, part.end, key=_phys) - first, 0)

    def pieces(self, start: int, end: int) -> Iterator[Run | Range]:
        """``[start, end)`` in order: the parts of runs in it, and a ``Range`` for each hole."""
        i = max(bisect_right(self.runs, start, key=_phys) - 1, 0)
        while i < len(self.runs) and self.runs[i].phys < end:
            run = self.runs[i]
            i += 1
            if run.end <= start:
                continue
            if run.phys > start:
                yield Range(start, run.phys)
                start = run.phys
            stop = min(run.end, end)
            yield run.part(start, stop)
            start = stop
        if start < end:
            yield Range(start, end)

    def rows(self, start: int, end: int, at: int) -> Iterator[Row]:
        """``[start, end)`` as the rows of a table that has it at its offset ``at``."""
        for piece in self.pieces(start, end):
            if isinstance(piece, Range):
                yield Row(at, piece.size, Kind.HOLE)
            elif piece.access is Access.WINDOW:
                yield _row(
                    piece, at, self._limits[bisect_right(self.runs, piece.phys, key=_phys) - 1]
                )
            else:
                yield _row(piece, at, (0, 0))
            at += piece.size

    @cached_property
    def _limits(self) -> list[tuple[int, int]]:
        """For each run, the range of its descriptor that a window may map.

        Runs whose offsets follow each other share one range; it is rounded out to whole pages.
        """
        limits: list[tuple[int, int]] = []
        joined: list[Run] = []
        for run, after in zip_longest(self.runs, self.runs[1:]):
            joined.append(run)
            end = run.offset + run.size
            if after is None or (after.fd, after.offset) != (run.fd, end):
                both = round_down(joined[0].offset, _MAP_UNIT), round_up(end, _MAP_UNIT)
                limits += [both] * len(joined)
                joined = []
        return limits

    @cached_property
    def _table(self) -> Table:
        return Table(self.rows(0, self.end, 0), b"", self.windows)

    def read(self, phys: int, size: int) -> bytes:
        """Exactly ``size`` bytes at ``phys``.

        Raises ``FaultError`` for the first piece of them that cannot be read.
        """
        data, faults = self._table.read(phys, size) if phys >= 0 else (b"", [])
        if faults:
            raise FaultError(faults[0].offset, faults[0].size)
        if len(data) < size:
            raise FaultError(phys + len(data), size - len(data))
        return data


def _row(run: Run, at: int, limits: tuple[int, int]) -> Row:
    return Row(at, run.size, Kind(run.access.value), run.offset, run.fd, *limits)
