# SPDX-License-Identifier: MIT
"""The memory map: where the struct page of each page frame is.

A list of ``MemMap``, sorted by frame and disjoint, only for frames of memory that can be read::

    pfn    |--- section ---|--- section ---|   no map   |--- section ---|
    maps   |----------- MemMap ------------|            |--- MemMap ----|
    virt   vmemmap + pfn * struct_size ...

One array (FLATMEM), one for each node (DISCONTIGMEM), or one for each section (SPARSEMEM; the same
with VMEMMAP, where all are parts of one virtual array). ``sparse`` knows those.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from ..errors import FaultError, FormatError
from .sparse import mem_sections

if TYPE_CHECKING:
    from ..kernel.kernel import Kernel

_MAX_STRUCT = 512  # bytes in a struct page
MAX_NODES = 4096


@dataclass(frozen=True, slots=True, order=True)
class MemMap:
    """The array of struct pages at ``virt``, for ``count`` page frames from ``pfn`` on.

    ``section_pages`` is the number of pages in a section: the sweep starts again at each multiple
    of it. 0: the array is one section.
    """

    pfn: int
    count: int
    virt: int
    struct_size: int
    section_pages: int
    online: bool = True  # False: its memory was offline at the crash

    @property
    def end(self) -> int:
        """One past the last frame."""
        return self.pfn + self.count

    @property
    def size(self) -> int:
        """Bytes of struct pages."""
        return self.count * self.struct_size


def memory_map(kernel: Kernel) -> list[MemMap]:
    """Where the kernel's struct pages are; ``FormatError`` if that is not understood.

    The memory model is the first that fits, in makedumpfile's order:

    ============= ===================================================================
    DISCONTIGMEM  node_data (or pgdat_list) and OFFSET(pglist_data.node_mem_map)
    SPARSEMEM     SYMBOL(mem_section); NUMA kernels of this model have node_data too
    FLATMEM       SYMBOL(mem_map)
    ============= ===================================================================
    """
    info = kernel.info
    size = info.need("SIZE(page)", among=range(4, _MAX_STRUCT + 1, 4))
    nodes = info.length("node_data") or info.length("pgdat_list")
    try:
        if nodes and info.offset("pglist_data.node_mem_map") is not None:
            maps = _discontiguous(kernel, size)
        elif (symbol := info.symbol("mem_section")) is not None:
            maps = _sparse(kernel, size, symbol)
        elif (symbol := info.symbol("mem_map")) is not None:
            maps = _flat(kernel, size, symbol)
        else:
            raise info.missing("SYMBOL(mem_section)", "SYMBOL(mem_map)")
    except FaultError as error:
        raise FormatError(f"the memory map cannot be read: {error}") from error
    if not maps:
        raise FormatError("the memory map is empty")
    return maps


def _sparse(kernel: Kernel, size: int, symbol: int) -> list[MemMap]:
    maps: list[MemMap] = []
    for pages, number, virt, online in mem_sections(kernel, size, symbol):
        last = maps[-1] if maps else None
        joins = last and (last.end, last.virt + last.size) == (number * pages, virt)
        if last and joins and last.online == online:
            maps[-1] = replace(last, count=last.count + pages)
        else:
            maps.append(MemMap(number * pages, pages, virt, size, pages, online))
    return maps


def _flat(kernel: Kernel, size: int, symbol: int) -> list[MemMap]:
    """One array, up to the end of memory or, if exported, the end that contig_page_data gives."""
    first, end = kernel.space.first_pfn, _max_pfn(kernel)
    node = kernel.info.symbol("contig_page_data")
    if node is not None and (span := _node_span(kernel, node)):
        end = min(end, span[1])
    virt = kernel.u(symbol)
    return [_map(kernel, first, end, virt, size)] if first < end else []


def _discontiguous(kernel: Kernel, size: int) -> list[MemMap]:
    """One array for each node: ``node_data`` holds pointers (``pgdat_list`` on ia64)."""
    info = kernel.info
    nodes = info.need("LENGTH(node_data)", "LENGTH(pgdat_list)", among=range(1, MAX_NODES + 1))
    symbol = info.need("SYMBOL(node_data)", "SYMBOL(pgdat_list)")
    array, start_at, pages_at = (
        info.need(f"OFFSET(pglist_data.{name})")
        for name in ("node_mem_map", "node_start_pfn", "node_spanned_pages")
    )
    maps: list[MemMap] = []
    for i in range(nodes):
        node = kernel.u(symbol + i * kernel.word)
        virt = kernel.u(node + array) if node else 0
        if not virt:
            continue  # the node does not exist, or has no memory
        first = kernel.u(node + start_at)
        end = min(first + kernel.u(node + pages_at), _max_pfn(kernel))
        if first < end:
            maps.append(_map(kernel, first, end, virt, size))
    maps.sort()
    for a, b in pairwise(maps):
        if a.end > b.pfn:
            raise FormatError(f"nodes overlap at page frame {b.pfn:#x}")
    return maps


def _node_span(kernel: Kernel, node: int) -> tuple[int, int] | None:
    start = kernel.info.offset("pglist_data.node_start_pfn")
    pages = kernel.info.offset("pglist_data.node_spanned_pages")
    if start is None or pages is None:
        return None
    first = kernel.u(node + start)
    return first, first + kernel.u(node + pages)


def _map(kernel: Kernel, first: int, end: int, virt: int, size: int) -> MemMap:
    if virt < kernel.arch.kernel_base or virt % 4:
        raise FormatError("mem_map points to no kernel address", virt)
    return MemMap(first, end - first, virt, size, 0)


def _max_pfn(kernel: Kernel) -> int:
    """One past the highest frame that can be read."""
    return -(-kernel.memory.end // kernel.page_size)
