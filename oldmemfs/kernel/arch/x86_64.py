# SPDX-License-Identifier: MIT
"""x86_64: the kernel's page tables translate every kernel address, its image included.

The root is ``init_top_pgt`` (4.13; before, ``init_level4_pgt``); it maps everything also with PTI.
It is in the kernel image. KASLR moves the image's virtual and physical address independently since
4.8, so only phys_base tells where it is::

    phys = virt - 0xffffffff80000000 + phys_base        NUMBER(phys_base), 4.10 and later
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ...elf.header import EM_X86_64
from ...elf.registers import wide
from ...errors import FaultError, FormatError
from ...ranges import Range
from .paging import NEVER, Address, Level, Match, Paging, TableCache
from .space import Arch, Evidence, SectionBits, Space

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..vmcoreinfo import Vmcoreinfo

IMAGE = 0xFFFFFFFF80000000  # __START_KERNEL_map
_STEP = 2 << 20  # bytes: phys_base is a multiple of this
_TABLE = Match(0x81, 0x01)  # present, and not PSE
_LEAF = Match(0x81, 0x81)
_LEVELS = (
    Level(48, 9, _TABLE, NEVER),
    Level(39, 9, _TABLE, NEVER),
    Level(30, 9, _TABLE, _LEAF),
    Level(21, 9, _TABLE, _LEAF),
    Level(12, 9, NEVER, Match(0x01, 0x01)),
)


def _space(evidence: Evidence) -> Space:
    names = ("init_top_pgt", "init_level4_pgt", "swapper_pg_dir")
    root = evidence.info.need(*(f"SYMBOL({name})" for name in names))
    five = evidence.info.number("pgtable_l5_enabled")
    depths = (4, 5) if five is None else (5,) if five else (4,)
    # NUMBER(sme_mask), 4.19 and later: the encryption bit in every entry
    frame = Address(0x000FFFFFFFFFF000 & ~(evidence.info.number("sme_mask") or 0))
    cache = TableCache(evidence.memory)
    for base in _bases(evidence):
        phys = root - IMAGE + base
        for depth in depths:
            covers = Range((1 << 64) - (1 << 9 * depth + 11), 1 << 64)
            levels = _LEVELS[5 - depth :]
            paging = Paging(cache, phys, covers, levels, frame, frame, struct.Struct("<Q"))
            if paging.holds(root):
                return Space(paging)
    raise FormatError(
        f"x86_64: the page tables at {root:#x} do not map themselves with any known phys_base"
    )


def _bases(evidence: Evidence) -> Iterator[int]:
    """Values of phys_base to try: VMCOREINFO's, those of the header's PT_LOADs, then a search.

    Before 4.10 VMCOREINFO has only the variable's address, SYMBOL(phys_base). The search tries each
    place where the image can be: at the right one, the variable holds the value that was tried.
    """
    stated = evidence.info.number("phys_base")
    if stated is not None:
        yield stated
    for load in evidence.loads:
        if load.is_virtual and load.virt >= IMAGE:
            yield load.phys - (load.virt - IMAGE)
    variable = evidence.info.symbol("phys_base")
    if variable is None:
        return
    for base in range(-16 << 20, 4 << 30, _STEP):
        try:
            if evidence.u(variable - IMAGE + base) == base % (1 << 64):
                yield base
        except FaultError:
            continue


def _sections(info: Vmcoreinfo) -> Sequence[SectionBits]:
    """Sections of 27 bits; memory of 46 since 2.6.31, of 52 if it ran with five levels (4.17)."""
    four, five = SectionBits(27, 46), SectionBits(27, 52)
    return (five, four) if info.number("pgtable_l5_enabled") else (four, five)


ARCH = Arch(
    name="x86_64",
    machine=EM_X86_64,
    kernel_base=1 << 63,
    space=_space,
    sections=_sections,
    huge_orders={12: (9, 18)},
    physical_bits=52,
    moved_below=1 << 20,  # kexec-tools moves the low 640 KiB
    status=wide(
        "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx",
        "rsi", "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds",
        "es", "fs", "gs",
    ),
)  # fmt: skip
