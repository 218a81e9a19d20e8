# SPDX-License-Identifier: MIT
"""SPARSEMEM: the sections that a kernel lists in ``mem_section``, and where their struct pages are.

``mem_section`` is an array of structs; with SPARSEMEM_EXTREME it is an array of pointers to roots,
each of them a page of structs::

    mem_section  | root 0 | root 1 |  NULL  | ...   NR_SECTIONS / (PAGE_SIZE / SIZE(mem_section))
                     |
                 | section 0 | section 1 | ...      virt - first pfn * SIZE(page) | flags
"""

from __future__ import annotations

import struct
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from ..errors import FaultError, FormatError
from ..kernel.arch.space import SectionBits
from ..ranges import Range, subtract, union

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..kernel.kernel import Kernel

# The low bits of section_mem_map: PRESENT, HAS_MEM_MAP, ONLINE (4.13), EARLY (5.3),
# TAINT_ZONE_DEVICE (5.12), VMEMMAP_PREINIT (6.15). Sections are so large that these six bits of the
# address are always 0, also in kernels that use fewer of them.
_FLAGS = 0x3F
_HAS_MEM_MAP = 0x2
_ONLINE = 0x4
_MAX_SECTIONS = 1 << 22
_MAX_SECTION_STRUCT = 256
_SAMPLES = 2048


class MemSection(NamedTuple):
    """Section ``number``, of ``pages`` page frames: its struct pages start at ``virt``."""

    pages: int
    number: int
    virt: int
    online: bool = True  # kernels before 4.13 do not say: then all are online


def mem_sections(kernel: Kernel, page: int, symbol: int) -> list[MemSection]:
    """The sections that have struct pages (of ``page`` bytes) and memory, by number.

    VMCOREINFO leaves two things open, so all combinations are tried, and the one that finds struct
    pages for most of the memory is taken:

    - ``symbol`` is the array, or a pointer to it: 4.15 (83e3c48729d9) made mem_section a pointer,
      and the VMCOREINFO of 4.15 and some 4.14.y and 4.16 kernels has the address of that pointer.
    - The sizes of sections and of memory are exported since 5.14 and 5.9.

    Raises ``FormatError`` if no combination finds struct pages.
    """
    best: tuple[int, list[MemSection]] = (0, [])
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
        raise FormatError(f"mem_section at {symbol:#x} is not understood: {reasons[0]}")
    if not any(section.online for section in best[1]):
        return [section._replace(online=True) for section in best[1]]
    return best[1]


def _bits(kernel: Kernel) -> list[SectionBits]:
    """NUMBER(SECTION_SIZE_BITS) (5.14) and NUMBER(MAX_PHYSMEM_BITS) (5.9), or the arch's values."""
    section = kernel.info.number("SECTION_SIZE_BITS")
    physmem = kernel.info.number("MAX_PHYSMEM_BITS")
    may_use = kernel.arch.sections(kernel.info)
    sizes = [b.section for b in may_use] if section is None else [section] * len(may_use)
    totals = [b.physmem for b in may_use] if physmem is None else [physmem] * len(may_use)
    made = dict.fromkeys(map(SectionBits, sizes, totals))
    fit = [b for b in made if kernel.page_shift < b.section < b.physmem <= 64]
    if not fit:
        raise FormatError(
            f"VMCOREINFO: SECTION_SIZE_BITS={section} and MAX_PHYSMEM_BITS={physmem} do not fit"
        )
    return fit


class _MemSectionArray(NamedTuple):
    """The layout of ``mem_section``: ``per_root`` structs behind each pointer; 0: no pointers."""

    total: int
    size: int
    offset: int
    per_root: int

    @classmethod
    def from_vmcoreinfo(cls, kernel: Kernel, bits: SectionBits) -> _MemSectionArray:
        """EXTREME if LENGTH(mem_section) is the number of roots, or is missing."""
        info = kernel.info
        offset = info.need("OFFSET(mem_section.section_mem_map)")
        size = info.need(
            "SIZE(mem_section)", among=range(offset + kernel.word, _MAX_SECTION_STRUCT + 1)
        )
        total = 1 << bits.physmem - bits.section
        per_root = kernel.page_size // size
        length = info.length("mem_section")
        if length in (None, -(-total // per_root)):
            return cls(total, size, offset, per_root)
        if length != total:
            raise FormatError(f"LENGTH(mem_section) is {length}, of {total} sections")
        return cls(total, size, offset, 0)


def _read(kernel: Kernel, page: int, at: int, bits: SectionBits) -> Iterator[MemSection]:
    array = _MemSectionArray.from_vmcoreinfo(kernel, bits)
    pages = 1 << bits.section - kernel.page_shift
    tail = array.size - array.offset - kernel.word
    order, word = ">" if kernel.big_endian else "<", "Q" if kernel.word == 8 else "I"
    form = struct.Struct(f"{order}{array.offset}x{word}{tail}x")
    for start, data in _blocks(kernel, array, at, _wanted(kernel, array, bits)):
        for number, (coded,) in enumerate(form.iter_unpack(data), start):
            if not coded & _HAS_MEM_MAP or coded <= _FLAGS:
                continue  # the section has no struct pages: hot-removed, or not present
            virt = (coded & ~_FLAGS) + number * pages * page & (1 << 8 * kernel.word) - 1
            end = virt + pages * page
            if virt < kernel.arch.kernel_base or end > 1 << 8 * kernel.word or virt % 4:
                raise FormatError(f"section {number:#x} has its struct pages at {virt:#x}")
            yield MemSection(pages, number, virt, bool(coded & _ONLINE))


def _wanted(kernel: Kernel, array: _MemSectionArray, bits: SectionBits) -> list[Range]:
    """The numbers of the sections that hold memory."""
    unit = 1 << bits.section
    numbers = union(
        Range(r.start // unit, min(-(-r.end // unit), array.total)) for r in kernel.memory.held
    )
    if sum(r.size for r in numbers) > _MAX_SECTIONS:
        raise FormatError(f"memory up to {kernel.memory.end:#x} has too many sections")
    return numbers


def _blocks(
    kernel: Kernel, array: _MemSectionArray, at: int, wanted: list[Range]
) -> Iterator[tuple[int, bytes]]:
    """The structs of the ``wanted`` sections, as (number of the first one, bytes of them all)."""
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


def _mapped(kernel: Kernel, found: list[MemSection], bits: SectionBits) -> int:
    """How many bytes of memory have readable struct pages, estimated from a sample of sections."""
    sample = found[:: len(found) // _SAMPLES + 1]
    there = sum(_is_mapped(kernel, section) for section in sample)
    unit = 1 << bits.section
    covered = union(Range(s.number * unit, (s.number + 1) * unit) for s in found)
    ranges = kernel.memory.held
    bare = sum(hole.size for r in ranges for hole in subtract(r, covered))
    return (sum(r.size for r in ranges) - bare) * there // max(len(sample), 1)


def _is_mapped(kernel: Kernel, section: MemSection) -> bool:
    try:
        kernel.u(section.virt, 4)
    except FaultError:
        return False
    return True
