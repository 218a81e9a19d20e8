# SPDX-License-Identifier: MIT
"""The judge of single pages, on recorded crashes: it must accept what is right, and object else."""

from __future__ import annotations

import subprocess
from array import array
from dataclasses import replace
from functools import cache

import pytest
from support.recorded import each_golden, folder
from support.recorded_dumps import classes, dump, kept, pfns

from oldmemfs.filter.memmap import memory_map

from . import structpages
from .guest.pageflags import KERNEL, SLAB, TABLE, understood
from .judge import judge
from .structpages import Kind, StructPages

pytestmark = each_golden
CPUS = 2


@cache
def said(golden: str) -> bytes:
    packed = folder(golden) / "kpageflags.zst"
    data = subprocess.run(["zstd", "-dc", packed], check=True, capture_output=True).stdout
    table = array("Q", data)
    return understood(table, table)


@cache
def pages(golden: str) -> StructPages:
    return StructPages(dump(golden).kernel)


@cache
def all_kept(golden: str) -> frozenset[int]:
    return frozenset(pfns(golden, "kept.txt"))


@cache
def whole(golden: str) -> frozenset[int]:
    return frozenset(pfns(golden, "levels/d0.kept.txt"))


def some(golden: str, word: int, *, here: bool) -> int:
    """A page that the kernel called such, and that is kept or not."""
    known = said(golden)
    return next(
        pfn
        for pfn in sorted(whole(golden))
        if known[pfn] & word == word and (pfn in all_kept(golden)) == here
    )


def test_what_is_kept_is_the_kernels(golden: str) -> None:
    found = kept(classes(dump(golden), 30)) & whole(golden)
    told = judge(said(golden), pages(golden), found, whole(golden), CPUS)
    assert told.startswith(f"{len(found)} of {len(whole(golden))} pages kept")


@pytest.mark.parametrize("word", [KERNEL, KERNEL | SLAB, KERNEL | TABLE])
def test_one_page_less_is_named(golden: str, word: int) -> None:
    pfn = some(golden, word, here=True)
    with pytest.raises(AssertionError, match=rf"^1 pages are the kernel's by .* {pfn:#x}$"):
        judge(said(golden), pages(golden), all_kept(golden) - {pfn}, whole(golden), CPUS)


def test_one_page_more_is_named(golden: str) -> None:
    pfn = next(p for p in whole(golden) if pages(golden).kind(p) is Kind.LRU)
    with pytest.raises(AssertionError, match=rf"^1 pages are kept and not .*: {pfn:#x}$"):
        judge(said(golden), pages(golden), all_kept(golden) | {pfn}, whole(golden), CPUS)


def test_a_page_that_only_seems_free_is_named(golden: str) -> None:
    """Both readers of the struct page agree on what is wrong: then no list leads back to it."""
    wrong = StructPages(dump(golden).kernel)
    lost = [p for p in sorted(all_kept(golden)) if said(golden)[p] & SLAB][: 64 * CPUS + 1]
    wrong.kinds.update(dict.fromkeys(lost, Kind.FREE))
    with pytest.raises(AssertionError, match=rf"on no list of others now .* {lost[0]:#x} "):
        judge(said(golden), wrong, all_kept(golden) - set(lost), whole(golden), CPUS)


def test_pages_on_lists_are_proven(golden: str) -> None:
    """Nearly all; a page inside of a free block by the block's first struct page."""
    found = pages(golden)
    for kind in (Kind.FREE, Kind.LRU):
        mine = [p for p in sorted(whole(golden)) if found.kind(p) is kind][::7]
        proven = sum(found.proven(p) for p in mine)
        assert len(mine) * 0.9 < proven <= len(mine)


def test_struct_pages_of_other_pages_are_not_believed(
    golden: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A memory map that is 5000 pages off: reader and filter make the same mistake."""
    dead = dump(golden).kernel
    shifted = [replace(m, virt=m.virt + 5000 * m.struct_size) for m in memory_map(dead)]
    monkeypatch.setattr(structpages, "memory_map", lambda _: shifted)
    wrong = StructPages(dead)
    ours = {p for p in whole(golden) if wrong.kind(p).kept}
    with pytest.raises(AssertionError, match=r"it is of other pages$"):
        judge(said(golden), wrong, ours, whole(golden), CPUS)
