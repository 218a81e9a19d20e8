# SPDX-License-Identifier: MIT
"""Pages of known contents at known physical addresses, told to the capture kernel's command line.

A marked page holds its own physical address, 512 times. All other pages of the marked areas begin
with a pattern that is nowhere else, neither in a program nor on a command line, and their kind.
"""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = 4096
WORD = "marked="
KINDS = ("anon", "thp", "hugetlb", "tmpfs", "ramfs")
HUGE = 2 << 20
_MAP_HUGETLB = 0x40000
# /proc/kpageflags: KPF_THP, KPF_HUGE.
_HUGE_FLAGS = {"thp": 1 << 22, "hugetlb": 1 << 17}


def contents(phys: int) -> bytes:
    """What a marked page holds."""
    return struct.pack("<Q", phys) * (PAGE // 8)


def pattern(kind: str = "") -> bytes:
    """How a page of user memory begins: the same 32 bytes for every kind, then the kind's name."""
    return hashlib.sha256(b"nobody's but the user's").digest() + kind.encode()


def from_command_line() -> list[tuple[str, int]]:
    """The pages that the first kernel told of: kind and physical address."""
    for word in Path("/proc/cmdline").read_text().split():
        if word.startswith(WORD):
            pairs = (item.split(":") for item in word.removeprefix(WORD).split(","))
            return [(kind, int(phys, 16)) for kind, phys in pairs]
    return []


@dataclass(frozen=True, slots=True)
class Page:
    """One marked page of the first kernel."""

    kind: str
    phys: int
    flags: int


class Marked:
    """Memory of several kinds, with marked pages in each."""

    def __init__(self) -> None:
        self._places: list[tuple[str, mmap.mmap, int]] = []
        for kind, area in _areas():
            start = pattern(kind).ljust(48, b"\0")
            for at in range(0, len(area), PAGE):
                area[at : at + len(start)] = start
            huge = -address(area) % HUGE
            if kind in _HUGE_FLAGS:
                self._places.append((kind, area, huge))
                self._places.append((f"{kind}-tail", area, huge + HUGE - PAGE))
            else:
                self._places.append((kind, area, 0))
        _drain()
        self.pages = self._look_up()
        for page, (_, area, at) in zip(self.pages, self._places, strict=True):
            wanted = _HUGE_FLAGS.get(page.kind.removesuffix("-tail"), 0)
            if page.phys == 0 or page.flags & wanted != wanted:
                raise RuntimeError(f"{page}: not what it should be")
            area[at : at + PAGE] = contents(page.phys)

    def word(self) -> str:
        """For the command line."""
        return WORD + ",".join(f"{page.kind}:{page.phys:x}" for page in self.pages)

    def stay(self) -> None:
        """Demand that no page has moved since it was marked."""
        moved = set(self._look_up()) ^ set(self.pages)
        if {page.phys for page in moved} - {page.phys for page in self.pages}:
            raise RuntimeError(f"moved: {moved}")

    def _look_up(self) -> list[Page]:
        found = []
        for kind, area, at in self._places:
            phys = physical(address(area) + at)
            found.append(Page(kind, phys, _word("/proc/kpageflags", phys // PAGE)))
        return found


def _areas() -> Iterator[tuple[str, mmap.mmap]]:
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    yield "anon", mmap.mmap(-1, 24 << 20, flags=private)
    # Machines below 512 MiB have transparent huge pages switched off.
    Path("/sys/kernel/mm/transparent_hugepage/enabled").write_text("madvise")
    huge = mmap.mmap(-1, 16 << 20, flags=private)
    huge.madvise(mmap.MADV_HUGEPAGE)
    yield "thp", huge
    yield "hugetlb", huge_pages(2, idle=2)
    for kind, folder in (("tmpfs", "/run"), ("ramfs", "/cache")):
        with open(f"{folder}/marked", "w+b") as file:
            os.ftruncate(file.fileno(), 12 << 20)
            yield kind, mmap.mmap(file.fileno(), 0)


def _drain() -> None:
    """Put this processor's newest pages on the LRU lists, where tools know them for a user's.

    Up to 31 pages of files for each processor wait to be put there. They have no PG_lru, and so
    makedumpfile keeps them, whatever they hold.
    """
    area = mmap.mmap(-1, PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    area[0] = 1
    area.madvise(mmap.MADV_DONTNEED)
    area.close()


def huge_pages(count: int, *, idle: int = 0) -> mmap.mmap:
    """Huge pages of our own, each with its memory; so many more lie idle in the kernel's pool."""
    pool = Path("/proc/sys/vm/nr_hugepages")
    pool.write_text(str(int(pool.read_text()) + count + idle))
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_HUGETLB
    area = mmap.mmap(-1, count * HUGE, flags=flags)
    for at in range(0, len(area), HUGE):
        area[at] = 0
    return area


def address(area: mmap.mmap) -> int:
    """Where a mapping begins."""
    return ctypes.addressof(ctypes.c_char.from_buffer(area))


def physical(virtual: int) -> int:
    """Where a page of this process lies; 0 when there is none."""
    entry = _word("/proc/self/pagemap", virtual // PAGE)
    return (entry & (1 << 55) - 1) * PAGE if entry >> 63 else 0


def _word(path: str, index: int) -> int:
    with open(path, "rb", buffering=0) as table:
        table.seek(index * 8)
        return int.from_bytes(table.read(8), "little")
