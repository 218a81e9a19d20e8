# SPDX-License-Identifier: MIT
"""The sweep in C against the model in plain Python, for every generation of kernels."""

from __future__ import annotations

import os
import random
from itertools import pairwise
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pagemodel import GENERATIONS, Generation, Model, draw_page

from oldmemfs.errors import FormatError
from oldmemfs.filter import sections as cut
from oldmemfs.filter.classes import Class, classify
from oldmemfs.filter.rules import Rules
from oldmemfs.filter.sections import Section
from oldmemfs.kernel.arch import x86_64
from oldmemfs.kernel.vmcoreinfo import Vmcoreinfo
from oldmemfs.maps.memory import Memory, Run
from oldmemfs.ranges import Range

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = 4096
ARRAY = 1 << 24  # where the struct pages are: behind all of the pages that they describe


class World:
    """Random struct pages in a memory file, some of them unmapped or not there at all."""

    def __init__(self, generation: Generation, seed: int, word: int, big: bool, level: int) -> None:
        rng = random.Random(seed)
        self.info = Vmcoreinfo.parse(generation.text(word))
        self.model = Model(self.info, word, big, level)
        self.rules = Rules.from_vmcoreinfo(
            self.info, word, big_endian=big, huge_orders=x86_64.ARCH.huge_orders
        )
        self.level, size = level, self.model.size
        borders = sorted(rng.sample(range(1, 1600), 3)) if rng.random() < 0.5 else [0, 512, 1536]
        self.ranges = [range(a, b) for a, b in pairwise(borders)]
        pool = [draw_page(rng, self.model) for _ in range(12)]
        pages = {p: rng.choice(pool) for p in range(borders[0], borders[-1])}
        pages |= {p: draw_page(rng, self.model) for p in rng.sample(list(pages), len(pages) // 4)}
        self.pages: dict[int, bytes | None] = dict(pages)
        hole = rng.randrange(borders[0], borders[-1])
        self.ram = set(pages) - set(range(hole, hole + rng.choice((0, 1, 40))))
        self.ram |= set(range(borders[-1] + 3, borders[-1] + 9))  # without struct pages

        self.fd = os.memfd_create("world")
        os.ftruncate(self.fd, ARRAY)
        os.pwrite(self.fd, b"".join(pages.values()), ARRAY)
        end = ARRAY + size * len(pages)
        runs = [Run(0, end, self.fd, 0)]
        missing = range(0)
        if rng.random() < 0.5:  # a piece of the array is not in memory
            start = ARRAY + rng.randrange(end - ARRAY)
            missing = range(start, min(start + rng.choice((1, 64, 4096)), end))
            runs = [Run(0, start, self.fd, 0)]
            if missing.stop < end:
                runs.append(Run(missing.stop, end - missing.stop, self.fd, missing.stop))
        self.memory = Memory(tuple(runs))
        self.unmapped = rng.randrange(4 * len(pages)) * size if rng.random() < 0.5 else None
        self.first = borders[0]
        for pfn in pages:
            where = range(at := ARRAY + (pfn - self.first) * size, at + size)
            if self.lost(where, missing) or self.lost(where, self.gap()):
                self.pages[pfn] = None

    @staticmethod
    def lost(where: range, piece: range) -> bool:
        return bool(piece) and where.start < piece.stop and piece.start < where.stop

    def gap(self) -> range:
        """A piece of the array that no page table maps."""
        return range(0) if self.unmapped is None else range(
            ARRAY + self.unmapped, ARRAY + self.unmapped + 100)  # fmt: skip

    def sections(self) -> Iterator[Section]:
        for r in self.ranges:
            yield Section(r.start, len(r), self.extents)

    def extents(self, pfn: int, pages: int) -> Iterator[tuple[int | None, int]]:
        """Where their struct pages are."""
        gap = self.gap()
        start = ARRAY + (pfn - self.first) * self.model.size
        end = start + pages * self.model.size
        cuts = sorted({start, end, *(c for c in (gap.start, gap.stop) if start < c < end)})
        return ((None if a in gap else a, b - a) for a, b in pairwise(cuts))

    def loads(self) -> list[Range]:
        return [Range(p * PAGE, (p + 1) * PAGE) for p in self.ram]

    def close(self) -> None:
        os.close(self.fd)


@pytest.mark.parametrize("generation", GENERATIONS, ids=lambda g: g.name)
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    word=st.sampled_from((4, 8)),
    big=st.booleans(),
    level=st.sampled_from((0, 2, 4, 6, 8, 12, 14, 16, 18, 20, 22, 24, 30)),
    rows=st.sampled_from((1, 2, 3, 8192)),
)
def test_c_is_the_model(
    generation: Generation, seed: int, word: int, big: bool, level: int, rows: int
) -> None:
    """However many rows of struct pages C is given at a time."""
    world = World(generation, seed, word, big, level)
    try:
        with mock.patch.object(cut, "_BATCH", rows):
            found = classify(world.memory, world.loads(), world.sections(), world.rules, level)
        kept, counts = world.model.sweep(world.pages, world.ram, world.ranges)
        assert {p for p in world.ram if p in found.kept} == kept
        assert {name: found.counts[Class[name]] for name in counts} == counts
        assert found.kept.count() == len(kept)
        assert found.no_section == 6
    finally:
        world.close()


NUMBERS = st.sampled_from(
    (0, 1, 2, 7, 8, 16, 31, 32, 33, 56, 60, 63, 64, 255, 4096, 1 << 31, (1 << 32) - 1, 1 << 62,
     (1 << 63) - 1, 1 << 63, (1 << 64) - 1, -1, -129, -(1 << 31), -(1 << 63))
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(data=st.data(), generation=st.sampled_from(GENERATIONS), word=st.sampled_from((4, 8)))
def test_garbage_is_refused_or_swept(
    data: st.DataObject, generation: Generation, word: int
) -> None:
    """Any number in VMCOREINFO, any struct page: an error or an end, and never a page too many."""
    lines = [line.split("=") for line in generation.text(word).decode().splitlines()]
    for line in data.draw(st.lists(st.sampled_from(lines[1:]), min_size=1, max_size=4)):
        line[1] = str(data.draw(NUMBERS))
    info = Vmcoreinfo.parse("\n".join("=".join(line) for line in lines).encode())
    try:
        rules = Rules.from_vmcoreinfo(
            info, word, big_endian=data.draw(st.booleans()), huge_orders=x86_64.ARCH.huge_orders
        )
    except FormatError:
        return
    rng = random.Random(data.draw(st.integers(0, 1 << 32)))
    fd = os.memfd_create("garbage")
    try:
        os.pwrite(fd, rng.randbytes(64 * rules.size), ARRAY)
        memory = Memory((Run(0, ARRAY + 64 * rules.size, fd, 0),))
        array = Section(600, 64, lambda _pfn, _pages: [(ARRAY, 64 * rules.size)])
        loads = [Range(600 << rules.page_shift, 700 << rules.page_shift)]
        found = classify(memory, loads, [array], rules, 30)
    finally:
        os.close(fd)
    gone = [c for c in Class if c not in (Class.NO_STRUCT, Class.BAD_ORDER, Class.ODD_TYPE)]
    inside = found.kept.pages
    assert sum(found.counts[c] for c in gone) == inside - found.kept.count()
