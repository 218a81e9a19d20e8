# SPDX-License-Identifier: MIT
"""A page table walker for every architecture: each architecture states only numbers.

A walk yields spans: ``[virt, virt + size)`` is at ``phys``; None: not mapped. A large leaf is one
step whatever its size; contiguous neighbours in one table are joined::

    virt      |-------- 2 MiB leaf --------|- 4 KiB -|- 2 x 4 KiB -|----- absent, 2 MiB -----|
    phys      0x40000000                   0x1234000 0x9000        None

The depth is at most the number of levels, and every step moves forward, so a walk also ends when
hostile tables point at each other. A table that cannot be read counts as empty.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from ...errors import FaultError
from ...ranges import Range

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...maps.memory import Memory

_CHUNK = 0x1000  # bytes of a table that are read at a time
_CHUNKS = 256  # chunks in the cache: 1 MiB


class Span(NamedTuple):
    """``size`` bytes of virtual memory, contiguous from ``phys`` on; None: not mapped."""

    phys: int | None
    size: int


class Match(NamedTuple):
    """An entry is of this kind if ``entry & mask == value``."""

    mask: int
    value: int


class Address(NamedTuple):
    """The physical address in an entry: ``(entry & mask) << left | (entry & high) << up``.

    ``high`` is for arm64's two formats (LPA and LPA2) that store the top bits of a 52-bit address
    in low bits of the entry.
    """

    mask: int
    left: int = 0
    high: int = 0
    up: int = 0


class Group(NamedTuple):
    """A leaf that matches is part of a mapping of ``1 << shift`` bytes (riscv's Svnapot)."""

    match: Match
    shift: int


class Level(NamedTuple):
    """A level of tables: ``1 << bits`` entries that map ``1 << shift`` bytes each.

    An entry is compared with ``table`` first, then with ``leaf``; an entry of 0 is never valid.
    """

    shift: int
    bits: int
    table: Match
    leaf: Match


NEVER = Match(0, 1)  # no entry is of this kind


class TableCache:
    """A cache of page table chunks, by physical address; it is emptied when it is full."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._chunks: dict[int, bytes | None] = {}

    def chunk(self, phys: int) -> bytes | None:
        """The chunk at ``phys``, a multiple of ``_CHUNK``; None if it cannot be read."""
        try:
            return self._chunks[phys]
        except KeyError:
            if len(self._chunks) >= _CHUNKS:
                self._chunks.clear()
            try:
                chunk = self._memory.read(phys, _CHUNK)
            except FaultError:
                chunk = None
            self._chunks[phys] = chunk
            return chunk


@dataclass(frozen=True, slots=True)
class Paging:
    """Page tables with their root at physical address ``root``; they translate only ``covers``.

    ``levels`` are ordered from the root to the pages. ``next`` is where an entry has the address of
    the next table, ``frame`` where a leaf has the address of its memory.
    """

    cache: TableCache
    root: int
    covers: Range
    levels: tuple[Level, ...]
    frame: Address
    next: Address
    entry: struct.Struct
    group: Group | None = None

    def holds(self, virt: int) -> bool:
        """Whether these tables map ``virt``, the root's virtual address, to the root.

        This shows that a guessed root is right: only the kernel's true tables map themselves so.
        """
        return self.root >= 0 and self.phys(virt) == self.root

    def phys(self, virt: int) -> int | None:
        """Where the byte at ``virt`` is; None if it is not mapped."""
        return next(self.spans(virt, virt + 1)).phys

    def spans(self, virt: int, end: int) -> Iterator[Span]:
        """The spans of ``[virt, end)``, in order."""
        for start, stop in _cut(Range(virt, end), self.covers):
            if not self.covers.start <= start < self.covers.end:
                yield Span(None, stop - start)
                continue
            at = start
            while at < stop:
                for span in self._table(at, stop):
                    yield span
                    at += span.size

    def _table(self, virt: int, end: int) -> Iterator[Span]:
        """The spans of the table in which a walk for ``virt`` ends, up to the next subtable."""
        table, depth = self.root, 0
        while True:
            level = self.levels[depth]
            index = virt >> level.shift & (1 << level.bits) - 1
            entry = self._entries(table + index * self.entry.size, 1)
            if not entry or not _is(level.table, entry[0]):
                break
            table, depth = _address(self.next, entry[0]), depth + 1
        unit = 1 << level.shift
        count = min(-(-(end - (virt & -unit)) // unit), (1 << level.bits) - index)
        group = self.group if depth == len(self.levels) - 1 else None
        (is_table, table_value), (is_leaf, leaf_value) = level.table, level.leaf
        mask, left, high, up = self.frame
        start: int | None = None  # [virt - held, virt) is at start, or nowhere
        held = 0
        for value in self._entries(table + index * self.entry.size, count) or (0,):
            if held and value & is_table == table_value and value:
                break
            phys = None
            if value & is_leaf == leaf_value and value:
                whole = 1 << group.shift if group and _is(group.match, value) else unit
                phys = (value & mask) << left | (value & high) << up
                phys = phys & -whole | virt & whole - 1
            step = min(unit - (virt & unit - 1), end - virt)
            if held and (phys is not start if start is None else phys != start + held):
                yield Span(start, held)
                held = 0
            if not held:
                start = phys
            held += step
            virt += step
        yield Span(start, held)

    def _entries(self, phys: int, count: int) -> tuple[int, ...]:
        """Up to ``count`` entries from ``phys`` on, or none if they cannot be read."""
        at = phys & _CHUNK - 1
        count = min(count, (_CHUNK - at) // self.entry.size)
        chunk = self.cache.chunk(phys - at) if count else None
        if chunk is None:
            return ()
        if count == 1:
            return self.entry.unpack_from(chunk, at)
        return struct.unpack_from(f"{self.entry.format[0]}{count}{self.entry.format[1]}", chunk, at)


def _is(match: Match, entry: int) -> bool:
    return entry & match[0] == match[1] and entry != 0


def _address(where: Address, entry: int) -> int:
    mask, left, high, up = where
    return (entry & mask) << left | (entry & high) << up


def _cut(whole: Range, at: Range) -> Iterator[Range]:
    """``whole``, cut at the borders of ``at``."""
    borders = sorted({*whole, *(b for b in at if whole.start < b < whole.end)})
    return (Range(a, b) for a, b in pairwise(borders))
