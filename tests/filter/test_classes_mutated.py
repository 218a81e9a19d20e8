# SPDX-License-Identifier: MIT
"""Mutations: struct pages of real crashes patched to every corner, and makedumpfile's verdict.

Both read the same file. The makedumpfile that is installed must be one that knows the kernel.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.makedumpfile import theirs
from support.pagemodel import Model, draw_page
from support.recorded import cases, fast_folder
from support.recorded_dumps import classes, dump, kept, save_vmcore

from oldmemfs.filter.memmap import memory_map
from oldmemfs.options import Options
from oldmemfs.ranges import Range, union
from oldmemfs.sources import open_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oldmemfs.dump import Dump


PAGE = 4096
STRUCT = 64
LEVELS = (0, 2, 4, 8, 16, 31)

pytestmark = [
    pytest.mark.golden,
    pytest.mark.skipif(
        not shutil.which("makedumpfile"),
        reason="no makedumpfile here: apt-get install makedumpfile",
    ),
]


def ours(crash: Dump, level: int) -> set[int]:
    return kept(classes(crash, level & ~1)) - {0x9F}


class Patient:
    """A vmcore whose struct pages can be written."""

    def __init__(self, name: str, folder: Path) -> None:
        self.path = folder / "vmcore"
        save_vmcore(dump(name), self.path)
        self.crash = open_source(str(self.path), Options())
        dead = self.crash.kernel
        self.maps = memory_map(dead)
        self.info = self.crash.vmcoreinfo
        self.places = [
            (part.pfn + done // STRUCT, phys, size)
            for part in self.maps
            for done, phys, size in self._extents(dead.extents(part.virt, part.size))
        ]
        loads = [
            Range(-(-x.paddr // PAGE), (x.paddr + x.memsz) // PAGE) for x in self.crash.header.loads
        ]
        self.pfns = [p for r in union(loads) for p in range(*r)]

    @staticmethod
    def _extents(extents: Iterator[tuple[int | None, int]]) -> Iterator[tuple[int, int, int]]:
        done = 0
        for phys, size in extents:
            assert phys is not None
            yield done, phys, size
            done += size

    def write(self, pfn: int, page: bytes) -> None:
        """Patch the struct page of ``pfn``."""
        for first, phys, size in self.places:
            at = phys + (pfn - first) * STRUCT
            if phys <= at < phys + size:
                for load in self.crash.header.loads:
                    if load.paddr <= at < load.paddr + load.memsz:
                        with self.path.open("r+b") as file:
                            file.seek(load.offset + at - load.paddr)
                            file.write(page)


@pytest.fixture(scope="module", params=cases())
def patient(request: pytest.FixtureRequest) -> Iterator[Patient]:
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        yield Patient(request.param, Path(folder))


def test_random_corners(patient: Patient) -> None:
    """Some thousand struct pages of corner cases all over memory, stale ones inside blocks too.

    A slab page with an odd mapping is left out of it: before 1.7.3 that was a user's page.
    """
    rng = random.Random(1)
    model = Model(patient.info, 8, False, 31)
    for pfn in rng.sample(patient.pfns, 3000):
        page = draw_page(rng, model)
        while model.bit(page, "slab") and model.member(page, "mapping") & 1:
            page = draw_page(rng, model)
        patient.write(pfn, page)
    for level in LEVELS:
        mine = ours(patient.crash, level)
        assert mine == theirs(patient.path, level, patient.path.parent), level


LRU, PRIVATE, SLAB, WAITERS = "lru", "private", "slab", 7
BUDDY, OFFLINE = "BUDDY", "OFFLINE"
# flags, page type, mapping, private -> whether level 31 keeps the page
CORNERS = {
    "plain": ((), None, 0, 0, True),
    "cache": ((LRU,), None, -64, 0, False),
    "private cache": ((LRU, PRIVATE), None, -64, 0, False),
    "anonymous, isolated": ((), None, -63, 0, False),
    "anonymous, in buffers": ((LRU, PRIVATE), None, -63, 0, False),
    "movable, of a driver": ((), None, -62, 0, True),
    "free": ((), BUDDY, 0, 0, False),
    "free, of order 10": ((), BUDDY, 0, 10, False),
    "free, of order 11": ((), BUDDY, 0, 11, True),
    "free, of order -1": ((), BUDDY, 0, -1, True),
    "free, and of a slab": ((SLAB,), BUDDY, 0, 0, True),
    "free, and waited for": ((WAITERS,), BUDDY, 0, 0, False),
    "free of order 11, and cached": ((LRU,), BUDDY, 0, 11, True),
    "offline": ((), OFFLINE, 0, 0, False),
    "offline, and of a slab": ((SLAB,), OFFLINE, 0, 0, True),
    "slab": ((SLAB,), None, -64, 0, True),
    "tail, free": ((), BUDDY, 0, 0, True),
    "tail, cached": ((LRU,), None, -63, 0, True),
}


def corner(model: Model, name: str) -> tuple[bytes, bool]:
    """The struct page of a corner, and whether it is kept."""
    flags, kind, mapping, private, keep = CORNERS[name]
    info, page = model.info, bytearray(STRUCT)
    numbers = {f: f if isinstance(f, int) else info.number(f"PG_{f}") for f in flags}
    count = info.number(f"PAGE_{kind}_MAPCOUNT_VALUE") if kind else -1
    for field, value, width in (
        ("flags", sum(1 << (n or 0) for n in numbers.values()), 8),
        ("mapping", mapping, 8),
        ("private", private, 8),
        ("_mapcount", count or 0, 4),
        ("compound_head", 1 if name.startswith("tail") else 0, 8),
    ):
        at = info.offset(f"page.{field}")
        assert at is not None
        page[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, "little")
    return bytes(page), keep


def test_named_corners(patient: Patient) -> None:
    """Far apart, so that a block of one does not cover the next; the page behind is plain."""
    model = Model(patient.info, 8, False, 31)
    places = dict(zip(CORNERS, patient.pfns[2048::2048], strict=False))
    expected = {}
    for name, pfn in places.items():
        for other in range(pfn - 1100, pfn + 1100):
            patient.write(other, corner(model, "plain")[0])
        page, expected[pfn] = corner(model, name)
        patient.write(pfn, page)
    assert len(expected) == len(CORNERS)
    mine = ours(patient.crash, 31)
    names = {pfn: name for name, pfn in places.items()}
    assert {names[p]: p in mine for p in expected} == {names[p]: k for p, k in expected.items()}
    assert mine == theirs(patient.path, 31, patient.path.parent)
