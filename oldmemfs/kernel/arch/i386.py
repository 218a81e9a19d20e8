# SPDX-License-Identifier: MIT
"""i386: the page tables of swapper_pg_dir translate every kernel address, lowmem included.

The root is in lowmem, at ``virt - PAGE_OFFSET``. PAGE_OFFSET depends on the configuration and is
not in VMCOREINFO, so all choices are tried: the right one maps the root's own address to the root.
With CONFIG_X86_PAE=y in VMCOREINFO there are three levels with 8-byte entries, else two with 4-byte
entries.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ...elf.header import EM_386, EM_486, EM_X86_64
from ...elf.registers import narrow
from ...errors import FormatError
from ...ranges import Range
from .paging import NEVER, Address, Level, Match, Paging, TableCache
from .space import Arch, Evidence, SectionBits, Space

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..vmcoreinfo import Vmcoreinfo

_SPLITS = (0xC0000000, 0xB0000000, 0x80000000, 0x78000000, 0x40000000)  # CONFIG_PAGE_OFFSET
_PRESENT = Match(0x01, 0x01)
_TABLE = Match(0x81, 0x01)  # present, and not PSE
_LEAF = Match(0x81, 0x81)
_PAE = (
    Level(30, 2, _PRESENT, NEVER),
    Level(21, 9, _TABLE, _LEAF),
    Level(12, 9, NEVER, _PRESENT),
)
_CLASSIC = (Level(22, 10, _TABLE, _LEAF), Level(12, 10, NEVER, _PRESENT))


def _space(evidence: Evidence) -> Space:
    virt = evidence.info.need("SYMBOL(swapper_pg_dir)")
    cache = TableCache(evidence.memory)
    covers = Range(0, 1 << 32)
    for start in dict.fromkeys(_splits(evidence)):
        root = virt - start
        if evidence.info.config("X86_PAE"):
            frame = Address(0x000FFFFFFFFFF000)
            paging = Paging(cache, root, covers, _PAE, frame, frame, struct.Struct("<Q"))
        else:
            frame = Address(0xFFFFF000)
            paging = Paging(cache, root, covers, _CLASSIC, frame, frame, struct.Struct("<I"))
        if paging.holds(virt):
            return Space(paging)
    raise FormatError(
        f"i386: the page tables at {virt:#x} do not map themselves with any known PAGE_OFFSET"
    )


def _splits(evidence: Evidence) -> Iterator[int]:
    for load in evidence.loads:
        if load.is_virtual:
            yield load.virt - load.phys
    yield from _SPLITS


def _sections(info: Vmcoreinfo) -> Sequence[SectionBits]:
    """Sections of 26 bits in 32; with PAE of 29 in 36, before 2.6.26 of 30 in 36."""
    if not info.config("X86_PAE"):
        return (SectionBits(26, 32),)
    return SectionBits(29, 36), SectionBits(30, 36)


ARCH = Arch(
    name="i386",
    machine=EM_386,
    uname=("i586", "i686"),
    word=4,
    kernel_base=_SPLITS[-1],
    space=_space,
    sections=_sections,
    huge_orders={12: (9, 10)},
    physical_bits=52,
    moved_below=1 << 20,  # kexec-tools moves the low 640 KiB
    status=narrow(
        "ebx", "ecx", "edx", "esi", "edi", "ebp", "eax", "ds", "es", "fs", "gs", "orig_eax",
        "eip", "cs", "eflags", "esp", "ss",
    ),
    takes={32: (EM_386, EM_486), 64: (EM_386, EM_X86_64)},
)  # fmt: skip
