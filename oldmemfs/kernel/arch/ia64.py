# SPDX-License-Identifier: MIT
"""ia64 (removed in 6.7): the top three bits of an address are its region.

::

    region 5   kernel image: one granule of 64 MiB; vmalloc and the virtual mem_map: page tables
    region 6   uncached   phys = virt & (2^61 - 1)
    region 7   cached     phys = virt & (2^61 - 1)
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ...elf.header import EM_IA_64
from ...elf.registers import numbered, wide
from ...ranges import Range, round_down
from .paging import NEVER, Address, Level, Match, Paging, TableCache
from .space import Arch, DirectMap, Evidence, SectionBits, Space

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..vmcoreinfo import Vmcoreinfo

_REGION = 1 << 61
_GRANULE = 64 << 20  # one translation register maps the whole kernel
_DEFAULT_PHYS = _GRANULE  # where the kernel is loaded if the firmware does not choose otherwise
_ANY = Match(0, 0)  # every entry of a table that is not 0 points to the next table


def _space(evidence: Evidence) -> Space:
    virt = evidence.info.need("SYMBOL(swapper_pg_dir)")
    image = round_down(evidence.info.need("SYMBOL(_stext)"), _GRANULE)
    phys = next(evidence.claimed(image), None)
    for load in evidence.loads:  # the image's own PT_LOAD need not start its granule
        if phys is None and load.is_virtual and round_down(load.virt, _GRANULE) == image:
            phys = load.phys - (load.virt - image)
    base = round_down(_DEFAULT_PHYS if phys is None else phys, _GRANULE)
    direct_maps = (
        DirectMap(image, image + _GRANULE, base),
        DirectMap(6 * _REGION, 7 * _REGION, 0),
        DirectMap(7 * _REGION, 8 * _REGION, 0),
    )
    root = next(Space(None, direct_maps).spans(virt, 1)).phys
    return Space(None if root is None else _paging(evidence, root), direct_maps)


def _paging(evidence: Evidence, root: int) -> Paging:
    """Three levels, or four if VMCOREINFO has CONFIG_PGTABLE_4=y."""
    step = evidence.page_shift - 3
    depth = 4 if evidence.info.config("PGTABLE_4") else 3
    shifts = range(evidence.page_shift, evidence.page_shift + depth * step, step)
    levels = [Level(shift, step, _ANY, NEVER) for shift in shifts[::-1]]
    levels[-1] = Level(evidence.page_shift, step, NEVER, Match(0x1, 0x1))
    frame = Address(0x0003FFFFFFFFF000)
    covers = Range(5 * _REGION, 5 * _REGION + (1 << min(shifts[-1] + step, 61)))
    cache = TableCache(evidence.memory)
    return Paging(cache, root, covers, tuple(levels), frame, frame, struct.Struct("<Q"))


def _sections(info: Vmcoreinfo) -> Sequence[SectionBits]:
    return (SectionBits(30, 50),)


ARCH = Arch(
    name="ia64",
    machine=EM_IA_64,
    kernel_base=5 * _REGION,
    space=_space,
    sections=_sections,
    status=wide(
        *numbered("r", 32), "nat", "pr", *numbered("b", 8), "ip", "cfm", "psr", "rsc", "bsp",
        "bspstore", "rnat", "ccv", "unat", "fpsr", "pfs", "lc", "ec", "csd", "ssd",
    ),
)  # fmt: skip
