# SPDX-License-Identifier: MIT
"""A synthetic kernel's free lists, and a kernel that does not tell how it marks free pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oldmemfs.filter.freelists import FreeLists
from oldmemfs.filter.memmap import memory_map
from support.crash import MEMBERS

if TYPE_CHECKING:
    from oldmemfs.ranges import Range
    from support.crash import Crash

ORDERS, TYPES = 11, 3
MARK = "NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)"


class Lists:
    """Two zones in the one node of a synthetic kernel; the first one has no pages."""

    def __init__(self, crash: Crash) -> None:
        self.crash, word = crash, crash.word
        area = (2 * TYPES + 1) * word
        size = 2 * word + ORDERS * area  # of a zone
        zones = 4 * word  # build_nodes() writes so much
        old = int(crash.lines.get("SYMBOL(contig_page_data)", "0"), 16)
        start = crash.memory.read(old - crash.machine.linear, zones) if old else bytes(zones)
        self.node = crash.write_linear(start + bytes(2 * size + word))
        self.zone = self.node + zones + size  # the second one
        self.write(self.zone + size, 2, 4)
        self.write(self.zone + word, 1)
        crash.symbol("contig_page_data", self.node)
        crash.lines |= {
            "OFFSET(pglist_data.node_zones)": str(zones),
            "OFFSET(pglist_data.nr_zones)": str(zones + 2 * size),
            "OFFSET(zone.spanned_pages)": str(word),
            "OFFSET(zone.free_area)": str(2 * word),
            "OFFSET(free_area.free_list)": "0",
            "SIZE(zone)": str(size),
            "SIZE(free_area)": str(area),
            "SIZE(list_head)": str(2 * word),
            "LENGTH(free_area.free_list)": str(TYPES),
        }
        crash.lines[MARK] = ""
        for order in range(ORDERS):
            for kind in range(TYPES):
                self.chain(order, kind, [])

    def write(self, virt: int, value: int, size: int | None = None) -> None:
        data = value.to_bytes(size or self.crash.word, self.crash.order)
        self.crash.ram.write(virt - self.crash.machine.linear, data)

    def head(self, order: int, kind: int) -> int:
        word = self.crash.word
        return self.zone + 2 * word + (order * (2 * TYPES + 1) + 2 * kind) * word

    def entry(self, pfn: int) -> int:
        return self.crash.virt(pfn) + MEMBERS["lru"][self.crash.word == 4]

    def chain(self, order: int, kind: int, pfns: list[int]) -> None:
        """Write a list: each pfn is a block's first."""
        crash, word = self.crash, self.crash.word
        head = self.head(order, kind)
        places = [head, *map(self.entry, pfns), head]
        links = zip(places[1:], [places[-2], *places], strict=False)
        for pfn, (following, previous) in zip([None, *pfns], links, strict=False):
            if pfn is None:
                self.write(head, following)
                self.write(head + word, previous)
            else:
                at = crash.struct_phys(pfn) + MEMBERS["lru"][word == 4]
                for i, link in enumerate((following, previous)):
                    crash.ram.write(at + i * word, link.to_bytes(word, crash.order))

    def walk(self) -> tuple[set[Range], list[str]]:
        kernel = self.crash.kernel()
        lists = FreeLists(kernel, memory_map(kernel))
        return set(lists.blocks()), lists.doubts
