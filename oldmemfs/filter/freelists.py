# SPDX-License-Identifier: MIT
"""Free lists: the free blocks of memory, for kernels whose free struct pages cannot be recognised.

Since about 3.10 VMCOREINFO says how a free page is marked (NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE),
OFFSET(page._mapcount) and OFFSET(page.private)). Without that the lists of the page allocator are
walked, as makedumpfile does::

    node       node_data[i] (pgdat_list on ia64), or contig_page_data
      zone       node_zones[0 .. nr_zones]
        order      free_area[0 .. LENGTH(zone.free_area)]: blocks of 2^order pages
          list       free_list[0 .. LENGTH(free_area.free_list)]: one for each migrate type
            block      page.lru of its first struct page

The crash may have interrupted a change of a list. An entry is accepted only if it is a struct page,
its ``prev`` points to the entry before it, and its pfn is aligned to the order; else the walk of
that list ends and the rest of its pages is kept. The ``prev`` check also means that no entry is
seen twice and every walk ends.
"""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from ..errors import FaultError, FormatError, OldmemError
from ..ranges import Range
from .memmap import MAX_NODES
from .rules import MAX_ORDERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..kernel.kernel import Kernel
    from ..kernel.vmcoreinfo import Vmcoreinfo
    from .memmap import MemMap

_MAX_ZONES = _MAX_TYPES = 16
_MAX_STRUCT = 1 << 20  # bytes of a zone or a node
_MAX_LISTS = 1 << 18  # 1,024 nodes with two zones each have 135,168
_virt = attrgetter("virt")


class _StructArray(NamedTuple):
    """An array in a structure."""

    offset: int
    size: int  # of an element
    length: int

    def addresses(self, start: int) -> Iterator[int]:
        """The addresses of its elements, in the structure at ``start``."""
        return (start + self.offset + i * self.size for i in range(self.length))


class FreeLists:
    """The free lists of a kernel; only ``blocks`` reads memory."""

    def __init__(self, kernel: Kernel, maps: list[MemMap]) -> None:
        self._kernel = kernel
        self._maps = sorted(maps, key=_virt)
        self._broken: list[OldmemError] = []

    def blocks(self) -> Iterator[Range]:
        """The free blocks as pfns, each once; of a broken list those before the broken entry."""
        self._broken.clear()
        heads: dict[int, int] = {}
        try:
            keys = _Keys.from_vmcoreinfo(self._kernel)
            for node in _nodes(self._kernel):
                heads |= self._heads(node, keys)
                if len(heads) > _MAX_LISTS:
                    raise FormatError(f"more than {_MAX_LISTS} free lists", node)
        except (FaultError, FormatError) as error:
            self._broken.append(error)
        for head, order in heads.items():
            try:
                yield from self._list(order, head, keys.lru)
            except (FaultError, FormatError) as error:
                self._broken.append(error)

    @property
    def doubts(self) -> list[str]:
        """What the last walk could not read or did not accept, in one sentence."""
        if not self._broken:
            return []
        count, first = len(self._broken), self._broken[0]
        return [f"free pages are kept: lists that could not be walked: {count}, the first: {first}"]

    def _heads(self, node: int, keys: _Keys) -> dict[int, int]:
        """The address of each of the node's lists -> the order of the blocks in it."""
        kernel, heads = self._kernel, dict[int, int]()
        count = min(kernel.u(node + keys.nr_zones, 4), keys.zones.length)
        for zone in keys.zones._replace(length=count).addresses(node):
            if kernel.u(zone + keys.spanned):
                for order, area in enumerate(keys.areas.addresses(zone)):
                    heads |= dict.fromkeys(keys.lists.addresses(area), order)
        return heads

    def _list(self, order: int, head: int, lru: int) -> Iterator[Range]:
        kernel, before = self._kernel, head
        at = kernel.u(head)
        while at != head:
            pfn = self._pfn(at - lru)
            if pfn is None or pfn % (1 << order):
                raise FormatError(f"an entry that is no free block of order {order}", at)
            links = kernel.read(at, 2 * kernel.word)
            following = int.from_bytes(links[: kernel.word], kernel.order)
            previous = int.from_bytes(links[kernel.word :], kernel.order)
            if previous != before:
                raise FormatError(f"an entry that points back to {previous:#x}", at)
            yield Range(pfn, pfn + (1 << order))
            before, at = at, following

    def _pfn(self, virt: int) -> int | None:
        """The page whose struct page is at ``virt``; None if there is none."""
        i = bisect_right(self._maps, virt, key=_virt) - 1
        if i < 0:
            return None
        part = self._maps[i]
        index, rest = divmod(virt - part.virt, part.struct_size)
        return None if rest or index >= part.count else part.pfn + index


class _Keys(NamedTuple):
    """What VMCOREINFO says of nodes and zones."""

    zones: _StructArray  # in a node
    nr_zones: int
    spanned: int  # pages, in a zone
    areas: _StructArray  # in a zone
    lists: _StructArray  # in an area
    lru: int  # in a struct page

    @classmethod
    def from_vmcoreinfo(cls, kernel: Kernel) -> _Keys:
        """``FormatError`` names the key that is missing."""
        info = kernel.info
        orders = info.need("LENGTH(zone.free_area)", among=range(1, MAX_ORDERS + 1))
        types = 1  # before 2.6.24 there was one list for each order
        if info.length("free_area.free_list"):
            types = info.need("LENGTH(free_area.free_list)", among=range(1, _MAX_TYPES + 1))
        return cls(
            _array(kernel, "pglist_data.node_zones", "zone", _MAX_ZONES),
            _offset(info, "pglist_data.nr_zones"),
            _offset(info, "zone.spanned_pages"),
            _array(kernel, "zone.free_area", "free_area", orders),
            _array(kernel, "free_area.free_list", "list_head", types),
            _offset(info, "page.lru"),
        )


def _nodes(kernel: Kernel) -> list[int]:
    """The addresses of the nodes, each once."""
    info = kernel.info
    for name in ("node_data", "pgdat_list"):
        symbol, length = info.symbol(name), info.length(name)
        if symbol is not None and length is not None:
            length = info.need(f"LENGTH({name})", among=range(MAX_NODES + 1))
            pointers = (kernel.u(symbol + i * kernel.word) for i in range(length))
            return list(dict.fromkeys(node for node in pointers if node))
    if (node := info.symbol("contig_page_data")) is None:
        raise info.missing("SYMBOL(node_data)", "SYMBOL(contig_page_data)")
    return [node]


def _offset(info: Vmcoreinfo, name: str) -> int:
    return info.need(f"OFFSET({name})", among=range(_MAX_STRUCT + 1))


def _array(kernel: Kernel, name: str, element: str, length: int) -> _StructArray:
    size = kernel.info.need(f"SIZE({element})", among=range(2 * kernel.word, _MAX_STRUCT + 1))
    return _StructArray(_offset(kernel.info, name), size, length)
