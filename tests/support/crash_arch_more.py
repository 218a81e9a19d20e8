# SPDX-License-Identifier: MIT
"""The machines with straight maps, 32 bits or big-endian entries: s390x, ppc64, i386 and ia64."""

from __future__ import annotations

import struct

from support.crash_arch import AARCH64, RISCV64, X86_64, X86_64_5, X86_64_SME, Machine

_BIG = struct.Struct(">Q")
_TYPES = {53: 0xC, 42: 0x8, 31: 0x4, 20: 0x0}  # of s390's entries, by the shift of their level


def _s390_leaf(phys: int, shift: int) -> int:
    return phys | (0 if shift == 12 else _TYPES[shift] | 0x400)


S390X = Machine(
    "s390x",
    22,
    12,
    ((31, 11), (20, 11), (12, 8)),
    (31, 20),
    lambda phys, shift: phys | _TYPES[shift] | (0x3 if shift > 20 else 0),
    _s390_leaf,
    image=0x100000,
    image_phys=0x100000,
    linear=0,
    vmemmap=0x3D000000000,
    lines={"KERNELOFFSET": "0"},
    ram=((0, 0x20000000),),
    release="6.1.0-test",
    big_endian=True,
    entry=_BIG,
    empty=lambda shift: 0x400 if shift == 12 else 0x20 | _TYPES[shift],
    straight=True,
    section=(28, 46),
)
S390X_APART = S390X.but(
    "s390x-apart",
    {
        "IDENTITYBASE": "200000000000",
        "KERNELOFFSET": "3ffe00000000",
        "KERNELOFFPHYS": "8000000",
        "SAMODE31": "10000",
        "EAMODE31": "13000",
    },
    levels=((53, 11), (42, 11), *S390X.levels),
    image=0x3FFE00100000,
    image_phys=0x8100000,
    linear=0x200000000000,
    vmemmap=0x300000000000,
    release="6.12.0-test",
    section=(28, 47),
)


def _ppc_leaf(phys: int, _shift: int) -> int:
    return phys | 0xC00000000000018E


_RADIX = Machine(
    "ppc64le-radix-64k",
    21,
    16,
    ((39, 13), (30, 9), (21, 9), (16, 5)),
    (30, 21),
    lambda phys, _: phys | 1 << 63 | 0x9,
    _ppc_leaf,
    image=0xC000000002000000,
    image_phys=0x2000000,
    linear=0xC000000000000000,
    vmemmap=0xC00C000000000000,
    lines={"NUMBER(RADIX_MMU)": "64", "NUMBER(VMALLOC_START)": "0xc008000000000000"},
    ram=((0, 0x20000000),),
    entry=_BIG,
    straight=True,
    section=(24, 51),
)
_HASH = _RADIX.but(
    "ppc64le-hash-64k",
    levels=((44, 8), (34, 10), (24, 10), (16, 8)),
    large=(24,),
    table=lambda phys, _: phys,
    vmemmap=0xF000000000000000,
)
PPC64 = (
    _RADIX,
    _RADIX.but("ppc64le-radix-4k", page_shift=12, levels=((39, 13), (30, 9), (21, 9), (12, 9))),
    _HASH,
    _HASH.but("ppc64-hash-64k", big_endian=True, release="5.4.0-test"),
    _HASH.but(
        "ppc64le-hash-4k", page_shift=12, levels=((37, 9), (28, 9), (21, 7), (12, 9)), large=()
    ),
    _HASH.but(
        "ppc64le-hash-4.14",
        levels=((41, 12), (34, 7), (24, 10), (16, 8)),
        release="4.14.0-test",
        section=(24, 46),
    ),
    _HASH.but(
        "ppc64le-hash-4.8",
        levels=((34, 12), (29, 5), (24, 5), (16, 8)),
        release="4.8.0-test",
        section=(24, 46),
    ),
    _HASH.but("ppc64-hash-4.4", big_endian=True, release="4.4.0-test", section=(24, 46)),
)


def _pse_leaf(phys: int, shift: int) -> int:
    return phys | 0x163 | (0x80 if shift > 12 else 0)


_CLASSIC = Machine(
    "i386",
    3,
    12,
    ((22, 10), (12, 10)),
    (22,),
    lambda phys, _: phys | 0x63,
    _pse_leaf,
    image=0xC1000000,
    image_phys=0x1000000,
    linear=0xC0000000,
    vmemmap=0,
    lines={},
    ram=((0, 0x20000000),),
    word=4,
    entry=struct.Struct("<I"),
    release="4.19.0-test",
    section=(26, 32),
)
_PAE = _CLASSIC.but(
    "i386-pae",
    {"CONFIG_X86_PAE": "y"},
    levels=((30, 2), (21, 9), (12, 9)),
    large=(21,),
    table=lambda phys, shift: phys | (0x1 if shift == 30 else 0x63),
    leaf=lambda phys, shift: _pse_leaf(phys, shift) | 1 << 63,
    entry=struct.Struct("<Q"),
    ram=((0, 0x20000000), (0x100000000, 0x120000000)),
    section=(29, 36),
)
I386 = (
    _CLASSIC,
    _CLASSIC.but("i386-2g", image=0x81000000, linear=0x80000000),
    _PAE,
)
_IA64 = Machine(
    "ia64",
    50,
    14,
    ((36, 11), (25, 11), (14, 11)),
    (),
    lambda phys, _: phys,
    lambda phys, _: phys | 0x0010000000000661,
    image=0xA000000100000000,
    image_phys=0x4000000,
    linear=0xE000000000000000,
    vmemmap=0xA000400000000000,
    lines={"CONFIG_PGTABLE_3": "y"},
    ram=((0x4000000, 0x24000000),),
    release="5.10.0-test",
    straight=True,
    section=(30, 50),
)
IA64 = (
    _IA64,
    _IA64.but(
        "ia64-4",
        {"CONFIG_PGTABLE_3": "n", "CONFIG_PGTABLE_4": "y"},
        page_shift=12,
        levels=((39, 9), (30, 9), (21, 9), (12, 9)),
        vmemmap=0xA000200000000000,
    ),
)
MACHINES = (
    X86_64,
    X86_64_5,
    X86_64_SME,
    *AARCH64,
    *RISCV64,
    S390X,
    S390X_APART,
    *PPC64,
    *I386,
    *IA64,
)
