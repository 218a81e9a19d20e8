# SPDX-License-Identifier: MIT
"""The memory of a synthetic dead kernel: RAM in a memfd, and page tables written into it."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from oldmemfs.maps.memory import Memory, Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from support.crash_arch import Machine


class Ram:
    """Ranges of physical memory, one after the other in a sparse file; and what is free of it."""

    def __init__(self, ranges: Sequence[tuple[int, int]]) -> None:
        self.fd = os.memfd_create("ram")
        self.runs: list[Run] = []
        offset = 0
        for start, end in ranges:
            self.runs.append(Run(start, end - start, self.fd, offset))
            offset += end - start
        os.ftruncate(self.fd, offset)
        self._next = ranges[0][0]

    def __del__(self) -> None:
        os.close(self.fd)

    @property
    def memory(self) -> Memory:
        memory = Memory(tuple(self.runs))
        memory.__dict__["ram"] = self  # the file is open as long as somebody reads it
        return memory

    def allocate(self, size: int, align: int) -> int:
        """``size`` bytes of the first range, of physical addresses that nobody has yet."""
        phys = -(-self._next // align) * align
        self._next = phys + size
        assert self._next <= self.runs[0].end, "the first range of RAM is too small"
        return phys

    def write(self, phys: int, data: bytes) -> None:
        run = next(r for r in self.runs if r.phys <= phys < r.end)
        assert phys + len(data) <= run.end
        os.pwrite(self.fd, data, run.offset + phys - run.phys)


class Tables:
    """Page tables as ``machine`` has them, kept here until ``write`` puts them into RAM."""

    def __init__(self, machine: Machine, ram: Ram, root: int) -> None:
        self._machine, self._ram, self._root = machine, ram, root
        self._tables: dict[int, dict[int, int]] = {root: {}}
        self._depths = {root: 0}
        self._children: dict[tuple[int, int], int] = {}

    def map(self, virt: int, phys: int, size: int, largest: int = 64) -> None:
        """Map with the largest leaves that fit, none above ``1 << largest``."""
        shifts = [s for s in sorted(self._machine.large, reverse=True) if s <= largest]
        shifts.append(self._machine.page_shift)
        while size > 0:
            shift = next(
                s for s in shifts if not (virt | phys) % (1 << s) and (size >> s or s == shifts[-1])
            )
            self.leaf(virt, phys, shift)
            virt, phys, size = virt + (1 << shift), phys + (1 << shift), size - (1 << shift)

    def leaf(self, virt: int, phys: int, shift: int, flags: int = 0) -> None:
        """Map one leaf, over whatever stands there."""
        table = self._root
        for depth, (covers, bits) in enumerate(self._machine.levels):
            index = virt >> covers & (1 << bits) - 1
            if covers == shift:
                self._tables[table][index] = self._machine.leaf(phys, shift) | flags
                return
            table = self._below(table, index, depth)
        raise AssertionError(f"no level has leaves of 1 << {shift}")

    def entry(self, virt: int, depth: int, value: int) -> None:
        """Put any value into the entry for ``virt`` at ``depth``: for hostile tables."""
        table = self._root
        for level, (covers, bits) in enumerate(self._machine.levels):
            index = virt >> covers & (1 << bits) - 1
            if level == depth:
                self._tables[table][index] = value
                return
            table = self._below(table, index, level)

    def _below(self, table: int, index: int, depth: int) -> int:
        child = self._children.get((table, index))
        if child is None:
            size = self._machine.entry.size << self._machine.levels[depth + 1][1]
            child = self._ram.allocate(size, size)
            self._children[table, index] = child
            self._tables[child] = {}
            self._depths[child] = depth + 1
        self._tables[table][index] = self._table_entry(child, depth)
        return child

    def _table_entry(self, phys: int, depth: int) -> int:
        return self._machine.table(phys, self._machine.levels[depth][0])

    def write(self) -> None:
        for phys, entries in self._tables.items():
            shift, bits = self._machine.levels[self._depths[phys]]
            full = [self._machine.empty(shift)] * (1 << bits)
            for index, value in entries.items():
                full[index] = value
            form = self._machine.entry.format
            self._ram.write(phys, struct.pack(f"{form[0]}{1 << bits}{form[1]}", *full))
