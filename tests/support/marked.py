# SPDX-License-Identifier: MIT
"""Synthetic kernels whose struct pages say what a test wants, and their dump."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oldmemfs.elf.header import parse_header
from oldmemfs.filter.filtered import Filtered, filtered
from support.crash import Crash
from support.pagemodel import GENERATIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from oldmemfs.filter.classes import Watch
    from support.crash_arch import Machine


PAGE = 4096
LRU, HEAD = 1 << 4, 1 << 16
PLAIN = {"_mapcount": -1}
ANON = {"flags": LRU, "mapping": 0xFFFF888000001001}


def page_keys(release: str, word: int) -> dict[str, str]:
    """The lines of VMCOREINFO about struct page, as kernels of this release have them."""
    text = next(g for g in GENERATIONS if g.name == release).text(word).decode()
    lines = dict(line.split("=") for line in text.splitlines())
    return {k: v for k, v in lines.items() if k not in ("OSRELEASE", "PAGESIZE", "SIZE(page)")}


def dead(machine: Machine, marks: Mapping[int, Mapping[str, int]], **more: object) -> Crash:
    """A kernel with the keys of 6.1 whose struct pages say ``marks``, and "kernel" elsewhere."""
    lines = page_keys("6.1", machine.word)
    return Crash(machine, lines=lines, pages=marks, fill=PLAIN, **more)  # type: ignore[arg-type]


def run(
    crash: Crash, level: int = 31, watch: Watch | None = None, blob: bytes | None = None
) -> Filtered:
    blob = blob or crash.elfcorehdr()
    header = parse_header(lambda at, size: blob[at : at + size], 0, "it")
    return filtered(crash.kernel(), header, b"notes", level, watch)
