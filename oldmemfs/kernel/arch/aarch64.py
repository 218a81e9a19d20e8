# SPDX-License-Identifier: MIT
"""aarch64: the page tables of swapper_pg_dir translate every kernel address.

5.4 moved the linear map from the upper half of the kernel's addresses to the lower half; the tables
map both halves, so this file need not know which kernel it is. The root is in the kernel image::

    phys = virt - kimage_voffset        NUMBER(kimage_voffset), 4.12 and later

The number of levels follows from PAGESIZE and NUMBER(VA_BITS). A kernel built for 52 bits that runs
on a machine with 48 keeps the large root with 64 KiB pages, and has one level less with LPA2 (6.9).
Each possibility is tried: the right one maps the root's own address to the root.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ...elf.header import EM_AARCH64
from ...elf.registers import numbered, wide
from ...errors import FormatError
from ...ranges import Range
from .paging import NEVER, Address, Level, Match, Paging, TableCache
from .space import Arch, Evidence, SectionBits, Space

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..vmcoreinfo import Vmcoreinfo

_BITS = (48, 39, 52, 47, 42, 36)
_PAGE = _TABLE = Match(0b11, 0b11)
_BLOCK = Match(0b11, 0b01)
_MAX_BLOCK = 42  # the largest shift of a block, with 64 KiB pages; above, 0b01 is reserved
_TAG = 0xFF << 56  # KASAN and MTE store a tag in the top byte of pointers


def _space(evidence: Evidence) -> Space:
    virt = evidence.info.need("SYMBOL(swapper_pg_dir)")
    cache = TableCache(evidence.memory)
    roots = list(_roots(evidence, virt))
    if not roots:
        raise evidence.info.missing("NUMBER(kimage_voffset)")
    for bits in _bits(evidence.info):
        for root in roots:
            paging = _paging(cache, root, evidence.page_shift, bits)
            if paging.holds(virt):
                return Space(paging, tag=_TAG)
    raise FormatError(
        f"aarch64: the page tables at {virt:#x} do not map themselves with any known VA_BITS"
    )


def _paging(cache: TableCache, root: int, page_shift: int, bits: int) -> Paging:
    """The tables for ``bits`` of virtual address.

    With 64 KiB pages an entry has bits 51:48 of the physical address in 15:12 (LPA); with smaller
    pages and 52 bits it has bits 51:50 in 9:8 (LPA2).
    """
    step = page_shift - 3
    shifts = list(range(page_shift, bits, step))[::-1]
    levels = [
        Level(shift, step, _TABLE, _BLOCK if shift <= _MAX_BLOCK else NEVER) for shift in shifts
    ]
    levels[0] = levels[0]._replace(bits=bits - shifts[0])
    levels[-1] = Level(page_shift, step, NEVER, _PAGE)
    page = -1 << page_shift
    if page_shift == 16:
        frame = Address((1 << 48) - 1 & page, 0, 0xF000, 36)
    elif bits == 52:
        frame = Address((1 << 50) - 1 & page, 0, 0x300, 42)
    else:
        frame = Address((1 << 48) - 1 & page)
    covers = Range((1 << 64) - (1 << bits), 1 << 64)
    return Paging(cache, root, covers, tuple(levels), frame, frame, struct.Struct("<Q"))


def _roots(evidence: Evidence, virt: int) -> Iterator[int]:
    offset = evidence.info.number("kimage_voffset")
    if offset is not None:
        yield (virt - offset) % (1 << 64)
    yield from evidence.claimed(virt)


def _bits(info: Vmcoreinfo) -> Iterator[int]:
    """VA_BITS to try: NUMBER(VA_BITS), 64 - NUMBER(TCR_EL1_T1SZ) (5.9), then all known ones."""
    stated = info.number("VA_BITS")
    t1sz = info.number("TCR_EL1_T1SZ")
    first = [bits for bits in (stated, 64 - t1sz if t1sz else None) if bits in _BITS]
    return (bits for bits in dict.fromkeys([*first, *_BITS]) if bits)


def _sections(info: Vmcoreinfo) -> Sequence[SectionBits]:
    """Up to 5.11 30 bits; since 5.12 27, or 29 with 64 KiB pages. Memory 48, 52 with PA_52, 40."""
    new = 29 if info.page_size == 1 << 16 else 27
    order = (new, 30) if info.version >= (5, 12, 0) else (30, new)
    return [SectionBits(section, physmem) for section in order for physmem in (48, 52, 40)]


ARCH = Arch(
    name="aarch64",
    machine=EM_AARCH64,
    kernel_base=1 << 63,
    space=_space,
    sections=_sections,
    huge_orders={12: (4, 9, 13, 18), 14: (7, 11, 16), 16: (5, 13, 18, 26)},
    physical_bits=52,
    moved_below=0,
    status=wide(*numbered("x", 31), "sp", "pc", "pstate"),
)
