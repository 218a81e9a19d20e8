# SPDX-License-Identifier: MIT
"""What a crashed kernel's struct pages say of its pages: /proc/kpageflags as of the crash.

Written from what the kernel's stable_page_flags() does (fs/proc/page.c), page after page, and not
from makedumpfile's way, which the scan under test follows. Of oldmemfs only the translation of
virtual addresses and the place of the struct pages are used; ``StructPages.proven`` tests these.
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import TYPE_CHECKING

from oldmemfs.errors import FaultError
from oldmemfs.filter.memmap import memory_map

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oldmemfs.filter.memmap import MemMap
    from oldmemfs.kernel.kernel import Kernel


class Kind(Enum):
    """What a page is; level 31 keeps those of the kernel."""

    KERNEL = "kernel"
    SLAB = "slab"
    TYPED = "typed"  # another page type, such as a page table's
    UNKNOWN = "no struct page"
    FREE = "free"
    LRU = "lru"
    ANON = "anonymous"
    HUGETLB = "hugetlb"
    POISON = "poisoned"
    OFFLINE = "offline"

    @property
    def kept(self) -> bool:
        """Whether the page is the kernel's."""
        return self in _KEPT


_KEPT = frozenset((Kind.KERNEL, Kind.SLAB, Kind.TYPED, Kind.UNKNOWN))


class StructPages:
    """The kind of every page, and the struct page that decides it: the head's, the block's."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._rules = _Rules(kernel)
        self.kinds: dict[int, Kind] = {}
        self._deciding: dict[int, int] = {}  # pfn -> address of the struct page that decides
        for part in memory_map(kernel):
            self._read(part)

    def kind(self, pfn: int) -> Kind:
        return self.kinds.get(pfn, Kind.UNKNOWN)

    def _read(self, part: MemMap) -> None:
        end = 0  # of the free block that the page is in
        kind, decides = Kind.UNKNOWN, part.virt
        pages = enumerate(_pages(self._kernel, part), part.pfn)
        rules = self._rules
        head = -1  # the page before, if it is a head: the second page may say hugetlb
        for pfn, page in pages:
            if page is None:
                kind = Kind.UNKNOWN
            elif pfn >= end and not rules.is_tail(page):
                decides = part.virt + (pfn - part.pfn) * part.struct_size
                kind = rules.kind(page)
                head = pfn if rules.is_head(page) else -1
                if kind is Kind.FREE:
                    end = pfn + rules.free_pages(page)
            elif pfn == head + 1 and rules.second_says_hugetlb(page):
                self.kinds[head] = kind = Kind.HUGETLB
            self.kinds[pfn] = kind
            self._deciding[pfn] = decides

    def proven(self, pfn: int) -> bool:
        """Whether the struct page is on a list whose neighbours lead back to it.

        Those of free pages and of pages on an LRU list are. So it is the struct page of this page
        and no other, and it holds what the kernel last wrote there.
        """
        kernel = self._kernel
        node = self._deciding[pfn] + self._rules.lru
        try:
            after, before = kernel.u(node), kernel.u(node + kernel.word)
            return kernel.u(after + kernel.word) == node == kernel.u(before)
        except FaultError:
            return False


def _pages(kernel: Kernel, part: MemMap) -> Iterator[bytes | None]:
    """Each struct page; None for one that cannot be read."""
    size, step = part.struct_size, 4096
    for first in range(0, part.count, step):
        count = min(step, part.count - first)
        virt = part.virt + first * size
        try:
            data = kernel.read(virt, count * size)
            yield from (data[at : at + size] for at in range(0, len(data), size))
        except FaultError:
            yield from (_page(kernel, virt + i * size, size) for i in range(count))


def _page(kernel: Kernel, virt: int, size: int) -> bytes | None:
    try:
        return kernel.read(virt, size)
    except FaultError:
        return None


class _Rules:
    """Where struct page has what, as VMCOREINFO says."""

    def __init__(self, kernel: Kernel) -> None:
        info = kernel.info
        self._word = struct.Struct((">" if kernel.big_endian else "<") + "IQ"[kernel.word // 8])
        self._half = struct.Struct((">" if kernel.big_endian else "<") + "I")

        def offset(*names: str) -> int:
            return next(found for name in names if (found := info.offset(name)) is not None)

        def bit(name: str) -> int:
            number = info.number(name)
            return 0 if number is None else 1 << number

        self._flags, self._mapping = offset("page.flags"), offset("page.mapping")
        self._mapcount, self._private = offset("page._mapcount"), offset("page.private")
        self._tail = offset("page.compound_info", "page.compound_head")
        self.lru = offset("page.lru")
        self._dtor = info.offset("page.compound_dtor")
        self._hugetlb_dtor = info.number("HUGETLB_PAGE_DTOR")
        self._slab, self._poison = bit("PG_slab"), bit("PG_hwpoison")
        self._lru_bit = bit("PG_lru")
        self._swap = bit("PG_swapcache") | bit("PG_swapbacked")
        head = info.number("PG_head_mask")
        assert head is not None
        self._head = head
        self._types: dict[int, Kind] = {}
        for name, kind in (
            ("BUDDY", Kind.FREE), ("UNACCEPTED", Kind.FREE), ("OFFLINE", Kind.OFFLINE),
            ("SLAB", Kind.SLAB), ("HUGETLB", Kind.HUGETLB),
        ):  # fmt: skip
            if (value := info.number(f"PAGE_{name}_MAPCOUNT_VALUE")) is not None:
                self._types[value % (1 << 32)] = kind

    def _at(self, page: bytes, offset: int) -> int:
        return int(self._word.unpack_from(page, offset)[0])

    def is_tail(self, page: bytes) -> bool:
        return bool(self._at(page, self._tail) & 1)

    def is_head(self, page: bytes) -> bool:
        return bool(self._at(page, self._flags) & self._head)

    def free_pages(self, page: bytes) -> int:
        """How many pages a free block has."""
        return 1 << self._at(page, self._private)

    def second_says_hugetlb(self, second: bytes) -> bool:
        """Whether the second page calls the compound page a huge one, as it does up to 6.5."""
        if self._dtor is None or self._hugetlb_dtor is None:
            return False
        return second[self._dtor] == self._hugetlb_dtor

    def kind(self, page: bytes) -> Kind:
        """What a page is that is neither a tail nor inside of a free block."""
        flags = self._at(page, self._flags)
        mapcount = int(self._half.unpack_from(page, self._mapcount)[0])
        typed = self._types.get(mapcount)
        if flags & self._slab or typed is Kind.SLAB:
            return Kind.SLAB  # its other words are the slab's, and may look like anything
        if typed:
            return typed
        if flags & self._lru_bit or flags & self._swap == self._swap:
            return Kind.LRU
        if self._at(page, self._mapping) & 1:
            return Kind.ANON
        if flags & self._poison:
            return Kind.POISON
        # Types lie far below -1, from which mappings are counted.
        return Kind.TYPED if 1 << 31 <= mapcount < (1 << 32) - 16 else Kind.KERNEL
