# SPDX-License-Identifier: MIT
"""Real crashes: page for page what makedumpfile said of them in their own capture kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.recorded import each_golden, folder
from support.recorded_dumps import classes, dump, kept, pfns

from oldmemfs.filter.classes import LONG, Class
from oldmemfs.filter.filtered import filtered
from oldmemfs.maps.plan import Plan
from oldmemfs.ranges import Range, union

if TYPE_CHECKING:
    from oldmemfs.dump import Dump

pytestmark = each_golden
PAGE = 4096


def whole(crash: Dump) -> set[int]:
    loads = [Range(-(-p.paddr // PAGE), (p.paddr + p.memsz) // PAGE) for p in crash.header.loads]
    return {p for r in loads for p in range(*r)}


@pytest.mark.parametrize("level", [0, 1, 2, 3, 4, 8, 12, 16, 23, 31])
def test_levels(golden: str, level: int) -> None:
    """Bitmap 2 of a compressed dump has zero pages too, so they are left in here."""
    crash = dump(golden)
    found = kept(classes(crash, level & ~1))
    assert found & whole(crash) == pfns(golden, f"levels/d{level}.kept.txt")
    assert len(found - whole(crash)) <= 1  # 0x9fc00 is in the middle of a page


def test_bitmap(golden: str) -> None:
    crash = dump(golden)
    bitmap = (folder(golden) / "kept.bitmap").read_bytes()
    truth = {8 * i + b for i, byte in enumerate(bitmap) for b in range(8) if byte >> b & 1}
    assert kept(classes(crash, 30)) & whole(crash) == truth


def test_zero_pages(golden: str) -> None:
    crash = dump(golden)
    truth = pfns(golden, "zero.txt")
    found = classes(crash, 31, long=1)
    zeros = {p for z in found.zeros for p in range(*z)}
    assert zeros & whole(crash) == truth
    assert kept(found) & whole(crash) == pfns(golden, "kept.txt") - truth
    assert found.counts[Class.ZERO] == len(zeros)


def test_only_long_runs_of_zeros_are_left_out(golden: str) -> None:
    truth = pfns(golden, "zero.txt")
    runs = union(Range(p, p + 1) for p in truth)
    found = classes(dump(golden), 31)
    assert list(found.zeros) == [r for r in runs if r.size >= LONG] != []
    assert found.counts[Class.ZERO] - len(truth) in (0, 1)


def test_the_file_has_the_kept_pages_and_nothing_else(golden: str) -> None:
    """Every byte is the memory's where a page is kept, and zero elsewhere."""
    crash = dump(golden)
    result = filtered(crash.kernel, crash.header, crash.notes, 31)
    assert not result.doubts
    plan = Plan(result.core.layout, crash.memory)
    keep = pfns(golden, "kept.txt")
    seen: set[int] = set()
    for phdr in result.core.header.loads:
        first, last = phdr.paddr // PAGE, (phdr.paddr + phdr.memsz - 1) // PAGE
        if not phdr.filesz:  # zeros, known
            assert set(range(first, last + 1)) <= pfns(golden, "zero.txt")
            seen.update(range(first, last + 1))
            continue
        assert phdr.filesz == phdr.memsz
        for pfn in range(first, last + 1):
            start = max(pfn * PAGE, phdr.paddr)
            size = min((pfn + 1) * PAGE, phdr.paddr + phdr.memsz) - start
            data, faults = plan.table.read(phdr.offset + start - phdr.paddr, size)
            assert not faults
            if pfn in keep or pfn == 0x9F:
                assert data == crash.memory.read(start, size)
                seen.add(pfn)
            else:
                assert not any(data), hex(pfn)
    assert keep <= seen


def test_pieces_are_about_makedumpfiles(golden: str) -> None:
    """Not much larger than its ELF file, which is without the zeros at the ends of pieces."""
    crash = dump(golden)
    result = filtered(crash.kernel, crash.header, crash.notes, 31)
    theirs = pfns(golden, "elfkept.txt")
    ours = {
        pfn
        for p in result.core.header.loads
        for pfn in range(p.paddr // PAGE, -(-(p.paddr + p.filesz) // PAGE))
    }
    zero = pfns(golden, "zero.txt")
    assert pfns(golden, "kept.txt") - zero <= ours & theirs
    assert len(ours) < 1.05 * len(theirs)
