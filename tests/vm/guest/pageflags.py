# SPDX-License-Identifier: MIT
"""The first kernel's own word for each page: /proc/kpageflags, the moment before it crashed.

It is read twice, into huge pages of the first kernel's user. The capture kernel is told where they
lie, and finds the tables in old memory: nothing is done between the second reading and the panic.
"""

from __future__ import annotations

import functools
import os
from array import array
from itertools import groupby

from .compare import MIB, opened
from .comparison import HERE, HIDDEN
from .firstlook import option
from .pages import HUGE, address, huge_pages, physical
from .report import expect
from .vmcore import memory

_OPTION = "kpageflags"
_TABLE = "/proc/kpageflags"
_ENTRY = 8

# The kernel's bits: those of pages that level 31 leaves out are LRU, BUDDY, ANON, SWAPCACHE, HUGE,
# HWPOISON, KSM, OFFLINE.
_KPF_SLAB, _KPF_TAIL, _KPF_NO_PAGE, _KPF_TABLE = 1 << 7, 1 << 16, 1 << 20, 1 << 26
_KPF_OUT = sum(1 << bit for bit in (5, 10, 12, 13, 17, 19, 21, 23))

# What is made of them, a byte for each page.
KERNEL, SLAB, TAIL, OUT, CHANGED, TABLE = 1, 2, 4, 8, 16, 32


class Snapshots:
    """Room for the table, twice."""

    def __init__(self) -> None:
        self._size = 0
        with opened(_TABLE) as table:
            while part := os.pread(table, MIB, self._size):
                self._size += len(part)
        count = -(-2 * self._size // HUGE)
        self._area = huge_pages(count)
        self._places = [physical(address(self._area) + at) for at in range(0, count * HUGE, HUGE)]

    def word(self) -> str:
        """For the command line: the table's size, and where the huge pages lie."""
        return f"vm.{_OPTION}={self._size:x}," + ",".join(f"{place:x}" for place in self._places)

    def take(self) -> None:
        """Read both."""
        view = memoryview(self._area)
        with opened(_TABLE) as table:
            for start in (0, self._size):
                got = os.preadv(table, [view[start : start + self._size]], 0)
                if got != self._size:
                    raise RuntimeError(f"{_TABLE}: {got} bytes, not {self._size}")


@functools.cache
def said() -> bytes:
    """What the first kernel said of its pages, by page frame number."""
    size, *places = (int(number, 16) for number in option(_OPTION).split(","))
    data = b"".join(memory(place, HUGE) for place in places)
    expect(any(data[:size]), "no table where the first kernel told")
    return understood(array("Q", data[:size]), array("Q", data[size : 2 * size]))


def understood(before: array[int], after: array[int]) -> bytes:
    """Both tables in a byte for each page; a tail is whatever its head is."""
    found = bytearray()
    head = 0
    for flags, run in groupby(zip(before, after, strict=True)):
        tails = [one & _KPF_TAIL for one in flags]
        if not all(tails):
            head = _owner(flags[0]) if _owner(flags[0]) == _owner(flags[1]) else CHANGED
        word = head | TAIL if all(tails) else CHANGED if any(tails) else head
        found.extend(bytes([word]) * sum(1 for _ in run))
    return bytes(found)


def _owner(flags: int) -> int:
    if flags & _KPF_SLAB:  # the other bits are the slab's, and may look like anything
        return KERNEL | SLAB
    if flags & _KPF_OUT:
        return OUT
    if flags & _KPF_TABLE:
        return KERNEL | TABLE
    return 0 if flags & _KPF_NO_PAGE else KERNEL


def count(said: bytes, marks: bytes, word: int) -> int:
    """How many pages of memory have all bits of a word."""
    return sum(bool(mark and one & word == word) for one, mark in zip(said, marks, strict=False))


def unlike(said: bytes, marks: bytes) -> list[int]:
    """The kernel's pages that are hidden, and the pages here that are to be left out."""
    return [
        pfn
        for pfn, (word, mark) in enumerate(zip(said, marks, strict=False))
        if (word & KERNEL and mark == HIDDEN) or (word & OUT and mark == HERE)
    ]
