"""The memory map: where the struct page of each page frame is.

A list of ``MemMap``, sorted by frame and disjoint, only for frames of memory that can be read::

    pfn    |--- section ---|--- section ---|   no map   |--- section ---|
    maps   |----------- MemMap ------------|            |--- MemMap ----|
    virt   vmemmap + pfn * struct_size ...

One array (FLATMEM), one for each node (DISCONTIGMEM), or one for each section (SPARSEMEM; the same
with VMEMMAP, where all are parts of one virtual array). Sections are listed in ``mem_section``, an
array of them, or with EXTREME of pointers to roots, each a page of them::

    mem_section  | root 0 | root 1 |  NULL  | ...   NR_SECTIONS / (PAGE_SIZE / SIZE(mem_section))
                     |
                 | section 0 | section 1 | ...      virt - first pfn * SIZE(page) | flags
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import TYPE_CHECKING, NamedTuple

from .arch.space import SectionBits
from .errors import FaultError, FormatError
from .ranges import Range, subtract, union

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .kernel import Kernel

_MAX_STRUCT = 512  # bytes in a struct page
MAX_NODES = 4096
# PRESENT, HAS_MEM_MAP, ONLINE (4.13), EARLY (5.3), TAINT_ZONE_DEVICE (5.12), VMEMMAP_PREINIT
# (6.15); sections are large enough that these six bits are never part of the address
_FLAGS = 0x3F
_HAS_MEM_MAP = 0x2
_MAX_SECTIONS = 1 << 22
_MAX_SECTION_STRUCT = 256
_SAMPLES = 2048


@dataclass(frozen=True, slots=True, order=True)
class MemMap:
    """``count`` frames from ``pfn`` on: an array of struct pages at ``virt``.

    A sweep over it starts anew at each multiple of ``section_pages``; 0: only at its start.
    """

    pfn: int
    count: int
    virt: int
    struct_size: int
    section_pages: int

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

    The order of the questions is makedumpfile's: NUMA kernels of every model have node_data.
    """
    info = kernel.info
    size = info.size_of("page")
    if size is None or not 0 < size <= _MAX_STRUCT or size % 4:
        raise FormatError(f"VMCOREINFO's SIZE(page) is {size}")
    nodes = info.length("node_data") or info.length("pgdat_list")
    try:
        if nodes and info.offset("pglist_data.node_mem_map") is not None:
            maps = _discontiguous(kernel, size, nodes)
        elif (symbol := info.symbol("mem_section")) is not None:
            maps = _sparse(kernel, size, symbol)
        elif (symbol := info.symbol("mem_map")) is not None:
            maps = _flat(kernel, size, symbol)
        else:
            raise FormatError("VMCOREINFO says neither SYMBOL(mem_section) nor SYMBOL(mem_map)")
    except FaultError as error:
        raise FormatError(f"the memory map cannot be read: {error}") from error
    if not maps:
        raise FormatError("the memory map is empty")
    return maps


def _sparse(kernel: Kernel, size: int, symbol: int) -> list[MemMap]:
    maps: list[MemMap] = []
    for pages, number, virt in _sections(kernel, size, symbol):
        last = maps[-1] if maps else None
        if last and last.end == number * pages and last.virt + last.size == virt:
            maps[-1] = replace(last, count=last.count + pages)
        else:
            maps.append(MemMap(number * pages, pages, virt, size, pages))
    return maps


def _flat(kernel: Kernel, size: int, symbol: int) -> list[MemMap]:
    """One array; ``contig_page_data``, where it is exported, says where it ends."""
    first, end = kernel.space.first_pfn, _max_pfn(kernel)
    node = kernel.info.symbol("contig_page_data")
    if node is not None and (span := _node_span(kernel, node)):
        end = min(end, span[1])
    virt = kernel.u(symbol)
    return [_map(kernel, first, end, virt, size)] if first < end else []


def _discontiguous(kernel: Kernel, size: int, nodes: int) -> list[MemMap]:
    """One array for each node: ``node_data`` holds pointers (``pgdat_list`` on ia64)."""
    info = kernel.info
    if nodes > MAX_NODES:
        raise FormatError(f"VMCOREINFO's LENGTH(node_data) is {nodes}")
    symbol = info.symbol("node_data") or info.symbol("pgdat_list")
    array = info.offset("pglist_data.node_mem_map")
    if symbol is None or array is None:
        raise FormatError("VMCOREINFO does not say SYMBOL(node_data)")
    maps: list[MemMap] = []
    for i in range(nodes):
        node = kernel.u(symbol + i * kernel.word)
        virt = kernel.u(node + array) if node else 0
        if not virt:
            continue  # the node does not exist, or has no memory
        if (span := _node_span(kernel, node)) is None:
            raise FormatError("VMCOREINFO does not say OFFSET(pglist_data.node_start_pfn)")
        first, end = span[0], min(span[1], _max_pfn(kernel))
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
        raise FormatError("a mem_map that is no kernel address", virt)
    return MemMap(first, end - first, virt, size, 0)


def _max_pfn(kernel: Kernel) -> int:
    """One past the highest frame that can be read."""
    return -(-kernel.memory.end // kernel.page_size)


class _Section(NamedTuple):
    """Section ``number``, of ``pages`` frames: its struct pages start at ``virt``."""

    pages: int
    number: int
    virt: int


def _sections(kernel: Kernel, page: int, symbol: int) -> list[_Section]:
    """The sections with struct pages (of ``page`` bytes) and memory, in order.

    What VMCOREINFO does not say is tried; the reading that maps most of the memory is right.
    SYMBOL(mem_section) is the array, or since 4.15, where the kernel exported it in the old form,
    the variable that points to it: both are tried, as are section sizes that are not said.
    """
    best: tuple[int, list[_Section]] = (0, [])
    reasons = []
    for bits, indirect in product(_bits(kernel), (False, True)):
        try:
            at = kernel.u(symbol) if indirect else symbol
            found = list(_read(kernel, page, at, bits))
            mapped = _mapped(kernel, found, bits)
        except (FaultError, FormatError) as error:
            reasons.append(f"as {bits.section}/{bits.physmem} bits: {error}")
            continue
        if mapped > best[0]:
            best = mapped, found
        elif not mapped:
            reasons.append(f"as {bits.section}/{bits.physmem} bits: no section has struct pages")
    if not best[0]:
        raise FormatError(f"mem_section at {symbol:#x} makes no sense: {reasons[0]}")
    return best[1]


def _bits(kernel: Kernel) -> list[SectionBits]:
    """What is said (MAX_PHYSMEM_BITS 5.9, SECTION_SIZE_BITS 5.14), else what the kernel may use."""
    section = kernel.info.number("SECTION_SIZE_BITS")
    physmem = kernel.info.number("MAX_PHYSMEM_BITS")
    may_use = kernel.arch.sections(kernel.info)
    sizes = [b.section for b in may_use] if section is None else [section] * len(may_use)
    totals = [b.physmem for b in may_use] if physmem is None else [physmem] * len(may_use)
    made = dict.fromkeys(map(SectionBits, sizes, totals))
    fit = [b for b in made if kernel.page_shift < b.section < b.physmem <= 64]
    if not fit:
        raise FormatError(f"no kernel has sections of 2^{section} of 2^{physmem} bytes")
    return fit


class _Array(NamedTuple):
    """How ``mem_section`` is to be read: ``per_root`` sections behind each pointer, or none."""

    total: int
    size: int
    offset: int
    per_root: int

    @classmethod
    def of(cls, kernel: Kernel, bits: SectionBits) -> _Array:
        """EXTREME if LENGTH(mem_section) counts roots, or is not said; else it counts sections."""
        info = kernel.info
        size, offset = info.size_of("mem_section"), info.offset("mem_section.section_mem_map")
        if (
            size is None
            or offset is None
            or not offset + kernel.word <= size <= _MAX_SECTION_STRUCT
        ):
            raise FormatError(f"SIZE(mem_section) is {size}, section_mem_map at {offset}")
        total = 1 << bits.physmem - bits.section
        per_root = kernel.page_size // size
        length = info.length("mem_section")
        if length in (None, -(-total // per_root)):
            return cls(total, size, offset, per_root)
        if length != total:
            raise FormatError(f"LENGTH(mem_section) is {length}, of {total} sections")
        return cls(total, size, offset, 0)


def _read(kernel: Kernel, page: int, at: int, bits: SectionBits) -> Iterator[_Section]:
    array = _Array.of(kernel, bits)
    pages = 1 << bits.section - kernel.page_shift
    tail = array.size - array.offset - kernel.word
    order, word = ">" if kernel.big_endian else "<", "Q" if kernel.word == 8 else "I"
    form = struct.Struct(f"{order}{array.offset}x{word}{tail}x")
    for start, data in _blocks(kernel, array, at, _wanted(kernel, array, bits)):
        for number, (coded,) in enumerate(form.iter_unpack(data), start):
            if not coded & _HAS_MEM_MAP or coded <= _FLAGS:
                continue  # its pages have no struct pages: hot-removed, or only reserved
            virt = (coded & ~_FLAGS) + number * pages * page & (1 << 8 * kernel.word) - 1
            end = virt + pages * page
            if virt < kernel.arch.kernel_base or end > 1 << 8 * kernel.word or virt % 4:
                raise FormatError(f"section {number:#x} has its struct pages at {virt:#x}")
            yield _Section(pages, number, virt)


def _wanted(kernel: Kernel, array: _Array, bits: SectionBits) -> list[Range]:
    """The numbers of the sections that hold memory."""
    unit = 1 << bits.section
    numbers = union(
        Range(r.start // unit, min(-(-r.end // unit), array.total)) for r in kernel.memory.held
    )
    if sum(r.size for r in numbers) > _MAX_SECTIONS:
        raise FormatError(f"memory up to {kernel.memory.end:#x} has too many sections")
    return numbers


def _blocks(
    kernel: Kernel, array: _Array, at: int, wanted: list[Range]
) -> Iterator[tuple[int, bytes]]:
    """The sections of ``wanted``, as (number of the first, its bytes and those that follow)."""
    for start, end in wanted:
        if not array.per_root:
            yield start, kernel.read(at + start * array.size, (end - start) * array.size)
            continue
        while start < end:
            root, first = divmod(start, array.per_root)
            stop = min(end, (root + 1) * array.per_root)
            if virt := kernel.u(at + root * kernel.word):
                yield start, kernel.read(virt + first * array.size, (stop - start) * array.size)
            start = stop


def _mapped(kernel: Kernel, found: list[_Section], bits: SectionBits) -> int:
    """How much memory has struct pages that are there, as far as a sample of sections tells."""
    sample = found[:: len(found) // _SAMPLES + 1]
    there = sum(_is_mapped(kernel, section) for section in sample)
    unit = 1 << bits.section
    covered = union(Range(s.number * unit, (s.number + 1) * unit) for s in found)
    ranges = kernel.memory.held
    bare = sum(hole.size for r in ranges for hole in subtract(r, covered))
    return (sum(r.size for r in ranges) - bare) * there // max(len(sample), 1)


def _is_mapped(kernel: Kernel, section: _Section) -> bool:
    try:
        kernel.u(section.virt, 4)
    except FaultError:
        return False
    return True
