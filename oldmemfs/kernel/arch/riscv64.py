# SPDX-License-Identifier: MIT
"""riscv64: the page tables of swapper_pg_dir translate every kernel address: sv39, sv48 or sv57.

The root is in the kernel image, which has a mapping of its own since 5.13; before, it was in the
linear map::

    phys = virt - va_kernel_pa_offset                NUMBER(va_kernel_pa_offset)
    phys = virt - PAGE_OFFSET + phys_ram_base        NUMBER(PAGE_OFFSET), NUMBER(phys_ram_base)

kexec-tools leaves reserved memory out of the ELF header, and the page tables lie there. If they
cannot be read, only these two direct maps are translated.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ...elf.header import EM_RISCV
from ...elf.registers import numbered, wide
from ...errors import FormatError
from ...ranges import Range
from .paging import NEVER, Address, Group, Level, Match, Paging, TableCache
from .space import Arch, DirectMap, Evidence, SectionBits, Space

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..vmcoreinfo import Vmcoreinfo

_VALID = Match(0x1, 0x1)  # valid; with any of R, W and X set it is a leaf at every level
_TABLE = Match(0xF, 0x1)
_LEVELS = (
    *(Level(shift, 9, _TABLE, _VALID) for shift in (48, 39, 30, 21)),
    Level(12, 9, NEVER, _VALID),
)
_DEPTHS = {39: 3, 48: 4, 57: 5}
_PPN = Address(0x003FFFFFFFFFFC00, 2)  # the page number in bits 53:10; PBMT and N are above
_NAPOT = Group(Match(1 << 63, 1 << 63), 16)


def _space(evidence: Evidence) -> Space:
    virt = evidence.info.need("SYMBOL(swapper_pg_dir)")
    bits = evidence.info.number("VA_BITS")
    depths = (_DEPTHS[bits],) if bits in _DEPTHS else tuple(_DEPTHS.values())
    cache = TableCache(evidence.memory)
    first = (evidence.info.number("phys_ram_base") or 0) >> evidence.page_shift
    for root in _roots(evidence, virt):
        for depth in depths:
            covers = Range((1 << 64) - (1 << 9 * depth + 11), 1 << 64)
            entry = struct.Struct("<Q")
            paging = Paging(cache, root, covers, _LEVELS[5 - depth :], _PPN, _PPN, entry, _NAPOT)
            if paging.holds(virt):
                return Space(paging, first_pfn=first)
    direct_maps = _direct_maps(evidence.info, evidence.memory.end)
    if not direct_maps:
        raise FormatError(
            f"riscv64: the page tables at {virt:#x} do not map themselves with any known offset"
        )
    return Space(None, direct_maps, first_pfn=first)


def _direct_maps(info: Vmcoreinfo, end: int) -> tuple[DirectMap, ...]:
    """The kernel image and the linear map; nothing if VMCOREINFO lacks one of the four numbers."""
    names = ("KERNEL_LINK_ADDR", "va_kernel_pa_offset", "PAGE_OFFSET", "phys_ram_base")
    image, offset, linear, base = (info.number(name) for name in names)
    if image is None or offset is None or linear is None or base is None:
        return ()
    top = 1 << 64
    image, linear = image % top, linear % top
    if not linear < linear + end - base <= image:
        return ()
    return (
        DirectMap(linear, linear + end - base, base),
        DirectMap(image, top, (image - offset) % top),
    )


def _roots(evidence: Evidence, virt: int) -> Iterator[int]:
    info = evidence.info
    offset = info.number("va_kernel_pa_offset")
    if offset is not None:
        yield (virt - offset) % (1 << 64)
    start, base = info.number("PAGE_OFFSET"), info.number("phys_ram_base")
    if start is not None and base is not None:
        yield (virt - start + base) % (1 << 64)
    yield from evidence.claimed(virt)


def _sections(info: Vmcoreinfo) -> Sequence[SectionBits]:
    return (SectionBits(27, 56),)


ARCH = Arch(
    name="riscv64",
    machine=EM_RISCV,
    kernel_base=1 << 63,
    space=_space,
    sections=_sections,
    moved_below=0,
    header_omits_reserved=True,
    status=wide(
        "pc", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", *numbered("a", 8),
        *(f"s{i}" for i in range(2, 12)), "t3", "t4", "t5", "t6",
    ),
)  # fmt: skip
