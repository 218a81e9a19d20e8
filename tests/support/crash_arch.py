# SPDX-License-Identifier: MIT
"""The machines that synthetic kernels crash on: numbers of each architecture, stated once more.

Nothing here is taken from ``oldmemfs.kernel.arch``: the two must agree because both are right.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MIB = 1 << 20
TOP = 1 << 64


def _nothing(_shift: int) -> int:
    return 0


@dataclass(frozen=True)
class Machine:
    """An architecture in one of its variants, and where its kernel puts things.

    ``linear`` is the virtual address of physical 0, ``vmemmap`` that of the struct page of frame 0.
    ``table`` and ``leaf`` make entries from (phys, shift of the level).
    """

    name: str
    e_machine: int
    page_shift: int
    levels: tuple[tuple[int, int], ...]  # (shift, bits of the index), from the root
    large: tuple[int, ...]  # shifts of the leaves above pages
    table: Callable[[int, int], int]
    leaf: Callable[[int, int], int]
    image: int
    image_phys: int
    linear: int
    vmemmap: int
    lines: Mapping[str, str]
    ram: tuple[tuple[int, int], ...]
    release: str = "6.12.9-test"
    word: int = 8
    big_endian: bool = False
    entry: struct.Struct = field(default_factory=lambda: struct.Struct("<Q"))
    empty: Callable[[int], int] = _nothing
    straight: bool = False  # the linear map and the image are not in the tables
    section: tuple[int, int] = (27, 46)  # SECTION_SIZE_BITS, MAX_PHYSMEM_BITS

    @property
    def page_size(self) -> int:
        return 1 << self.page_shift

    @property
    def has_hash_mmu(self) -> bool:
        """Of ppc64: struct pages are found through a list."""
        return self.vmemmap == 0xF << 60

    def but(self, name: str, lines: Mapping[str, str] | None = None, **changes: object) -> Machine:
        """The same with another name, more lines, and changes."""
        made = replace(self, name=name, lines={**self.lines, **(lines or {})})
        return replace(made, **changes)  # type: ignore[arg-type]


def _x86_table(phys: int, _shift: int) -> int:
    return phys | 0x63


def _x86_leaf(phys: int, shift: int) -> int:
    """Large leaves with PAT, which is bit 12, and all with NX."""
    return phys | 0x163 | 1 << 63 | (0x1080 if shift > 12 else 0)


X86_64 = Machine(
    "x86_64",
    62,
    12,
    ((39, 9), (30, 9), (21, 9), (12, 9)),
    (30, 21),
    _x86_table,
    _x86_leaf,
    image=0xFFFFFFFF9B200000,
    image_phys=0x1AC00000,
    linear=0xFFFF8ED140000000,
    vmemmap=0xFFFFF62B00000000,
    lines={
        "NUMBER(phys_base)": str(0x1AC00000 - 0x1B200000),
        "NUMBER(pgtable_l5_enabled)": "0",
        "NUMBER(sme_mask)": "0",
        "KERNELOFFSET": "1a200000",
    },
    ram=((0, 0x20000000),),
)
X86_64_5 = X86_64.but(
    "x86_64-5",
    {"NUMBER(pgtable_l5_enabled)": "1"},
    levels=((48, 9), *X86_64.levels),
    linear=0xFF1456C5C0000000,
    vmemmap=0xFFD4000000000000,
    section=(27, 52),
)
_SME = 1 << 47
X86_64_SME = X86_64.but(
    "x86_64-sme",
    {"NUMBER(sme_mask)": str(_SME)},
    table=lambda phys, shift: _x86_table(phys, shift) | _SME,
    leaf=lambda phys, shift: _x86_leaf(phys, shift) | _SME,
)


def _arm_leaf(phys: int, shift: int, page_shift: int) -> int:
    """Access flag, shareability in 9:8, contiguous and no-execute bits above."""
    return phys | 0x00F0_0000_0000_0700 | (0b11 if shift == page_shift else 0b01)


def _arm64(page_shift: int, bits: int, levels: tuple[tuple[int, int], ...]) -> Machine:
    flat = TOP - (1 << min(48, bits) - 1)
    return Machine(
        f"aarch64-{1 << page_shift - 10}k-{bits}",
        183,
        page_shift,
        levels,
        tuple(shift for shift, _ in levels[:-1] if shift <= 36),
        lambda phys, _: phys | 0b11,
        lambda phys, shift: _arm_leaf(phys, shift, page_shift),
        image=flat + 0x10000000,
        image_phys=0x44000000,
        linear=(TOP - (1 << bits)) - 0x40000000,
        vmemmap=TOP - (1 << min(48, bits) - 2),
        lines={
            "NUMBER(VA_BITS)": str(bits),
            "NUMBER(kimage_voffset)": f"{flat + 0x10000000 - 0x44000000:#x}",
            "NUMBER(PHYS_OFFSET)": "0x40000000",
            "NUMBER(TCR_EL1_T1SZ)": f"{64 - bits:#x}",
        },
        ram=((0x40000000, 0x60000000),),
        section=(29 if page_shift == 16 else 27, 48),
    )


def _lpa(machine: Machine, where: Callable[[int], int]) -> Machine:
    """With memory above 2^48, whose addresses are folded into the entries by ``where``."""
    return machine.but(
        machine.name,
        ram=(*machine.ram, (5 << 48, (5 << 48) + 0x20000000)),
        table=lambda phys, shift: where(machine.table(phys, shift)),
        leaf=lambda phys, shift: where(machine.leaf(phys, shift)),
        section=(machine.section[0], 52),
    )


def _lpa64(entry: int) -> int:
    return entry & ~(0xF << 48) | (entry >> 48 & 0xF) << 12


def _lpa2(entry: int) -> int:
    return entry & ~(0x3 << 50) & ~0x300 | (entry >> 50 & 0x3) << 8


_A48 = _arm64(12, 48, ((39, 9), (30, 9), (21, 9), (12, 9)))
_A52_64K = _lpa(_arm64(16, 52, ((42, 10), (29, 13), (16, 13))), _lpa64)
AARCH64 = (
    _arm64(12, 39, ((30, 9), (21, 9), (12, 9))),
    _A48,
    _lpa(_arm64(12, 52, ((48, 4), (39, 9), (30, 9), (21, 9), (12, 9))), _lpa2),
    _arm64(14, 36, ((25, 11), (14, 11))),
    _arm64(14, 47, ((36, 11), (25, 11), (14, 11))),
    _arm64(14, 48, ((47, 1), (36, 11), (25, 11), (14, 11))),
    _lpa(_arm64(14, 52, ((47, 5), (36, 11), (25, 11), (14, 11))), _lpa2),
    _arm64(16, 42, ((29, 13), (16, 13))),
    _arm64(16, 48, ((42, 6), (29, 13), (16, 13))),
    _A52_64K,
    # built for 52 bits, on a machine of 48: PHYS_OFFSET wraps, and the root keeps its size
    _A52_64K.but(
        "aarch64-64k-52-on-48",
        {
            "NUMBER(TCR_EL1_T1SZ)": "0x10",
            "NUMBER(PHYS_OFFSET)": f"{(0x40000000 - (1 << 52) + (1 << 48)) % TOP:#x}",
        },
        linear=TOP - (1 << 48) - 0x40000000,
        ram=((0x40000000, 0x60000000),),
    ),
    # before 5.4: the linear map above, the image below
    _A48.but(
        "aarch64-4k-48-old",
        {"NUMBER(kimage_voffset)": f"{0xFFFF000008080000 - 0x44000000:#x}"},
        release="5.3.18-test",
        image=0xFFFF000008080000,
        linear=0xFFFF800000000000 - 0x40000000,
        vmemmap=0xFFFF400000000000,
        section=(30, 48),
    ),
)


def _riscv(bits: int, linear: int, vmemmap: int) -> Machine:
    shifts = {39: (30, 21, 12), 48: (39, 30, 21, 12), 57: (48, 39, 30, 21, 12)}[bits]
    return Machine(
        f"riscv64-sv{bits}",
        243,
        12,
        tuple((shift, 9) for shift in shifts),
        shifts[:-1],
        lambda phys, _: phys >> 2 | 0x1,
        lambda phys, _: phys >> 2 | 0xEF | 1 << 61,  # PBMT: not cacheable
        image=0xFFFFFFFF80000000,
        image_phys=0x82000000,
        linear=linear - 0x80000000,
        vmemmap=vmemmap,
        lines={
            "NUMBER(VA_BITS)": str(bits),
            "NUMBER(PAGE_OFFSET)": f"{linear:#x}",
            "NUMBER(phys_ram_base)": str(0x80000000),
            "NUMBER(va_kernel_pa_offset)": f"{0xFFFFFFFF80000000 - 0x82000000:#x}",
            "NUMBER(KERNEL_LINK_ADDR)": "0xffffffff80000000",
        },
        ram=((0x80000000, 0xA0000000),),
        section=(27, 56),
    )


RISCV64 = (
    _riscv(39, 0xFFFFFFD600000000, 0xFFFFFFC800000000),
    _riscv(48, 0xFFFFAF8000000000, 0xFFFF8D8000000000),
    _riscv(57, 0xFF60000000000000, 0xFF1C000000000000),
)
