# SPDX-License-Identifier: MIT
"""ppc64, either byte order: a linear map; page tables, or a list of pieces, for the rest.

::

    0xc000000000000000   linear: phys = virt & ~0xc000000000000000, up to vmalloc
    0xc008000000000000   vmalloc (hash: 0xd...)      page tables of swapper_pg_dir
    0xc00c000000000000   vmemmap, with the radix MMU: page tables
    0xf000000000000000   vmemmap, with the hash MMU: pieces in vmemmap_list

VMCOREINFO has NUMBER(VMALLOC_START) and NUMBER(RADIX_MMU) since 6.9, and SYMBOL(vmemmap_list) of
kernels that have the hash MMU.
"""

from __future__ import annotations

import struct
from itertools import accumulate
from typing import TYPE_CHECKING

from ...elf.header import EM_PPC64
from ...elf.registers import numbered, wide
from ...errors import FormatError
from ...ranges import Range
from .paging import NEVER, Address, Level, Match, Paging, TableCache
from .space import Arch, DirectMap, Evidence, SectionBits, Space, layered

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..vmcoreinfo import Vmcoreinfo

LINEAR = 0xC << 60
_VMALLOC = 0xC008 << 48
_RADIX = 0x40  # MMU_FTR_TYPE_RADIX, since 4.7; NUMBER(RADIX_MMU) since 6.9
_MAX_PIECES = 1 << 18
_NEXT = Address(0x3FFFFFFFFFFFFF00)
_VALID = Match(1 << 63, 1 << 63)
_LEAF = Match(3 << 62, 3 << 62)


def _space(evidence: Evidence) -> Space:
    stated = (evidence.info.number("VMALLOC_START") or 0) % (1 << 64)
    end = stated if LINEAR < stated <= _VMALLOC else _VMALLOC
    virt = evidence.info.need("SYMBOL(swapper_pg_dir)")
    if not LINEAR <= virt < end:
        raise FormatError(f"ppc64: swapper_pg_dir at {virt:#x} is not in the linear map")
    linear = DirectMap(LINEAR, end, 0)
    pieces = list(_vmemmap(evidence))
    radix = _is_radix(evidence, bool(pieces))
    return Space(_paging(evidence, virt - LINEAR, radix), layered([linear, *pieces]))


def _paging(evidence: Evidence, root: int, radix: bool) -> Paging | None:
    """The page tables; None before 4.7, where only the linear map and vmemmap_list are supported.

    Since 4.7 the entries are big-endian, also in a little-endian kernel, and hold physical
    addresses.
    """
    if evidence.info.version < (4, 7, 0):
        return None
    table = _VALID._replace(mask=3 << 62) if radix else Match(1 << 62, 0)
    bits = [n for n in _index_bits(evidence, radix) if n]
    shifts = list(accumulate(bits[:-1], initial=evidence.page_shift))
    levels = [Level(shift, n, table, _LEAF) for shift, n in zip(shifts, bits, strict=True)][::-1]
    levels[-1] = levels[-1]._replace(table=NEVER, leaf=_VALID)
    top = 53 if evidence.info.version >= (4, 11, 0) else 57
    frame = Address((1 << top) - evidence.page_size)
    cache = TableCache(evidence.memory)
    covers = Range(LINEAR, 1 << 64)
    return Paging(cache, root, covers, tuple(levels), frame, _NEXT, struct.Struct(">Q"))


def _index_bits(evidence: Evidence, radix: bool) -> tuple[int, int, int, int]:
    """The bits that index the PTE, PMD, PUD and PGD tables; 0: the level does not exist."""
    large, version = evidence.page_size == 1 << 16, evidence.info.version
    if radix:
        return (5, 9, 9, 13) if large else (9, 9, 9, 13)
    if not large:
        return 9, 7, 9, 9
    if version >= (4, 17, 0):
        return 8, 10, 10, 8
    return (8, 10, 7, 12) if version >= (4, 12, 0) else (8, 5, 5, 12)


def _is_radix(evidence: Evidence, has_pieces: bool) -> bool:
    """Whether the MMU is radix: by cur_cpu_spec, or, if VMCOREINFO lacks it, by the empty list."""
    symbol = evidence.info.symbol("cur_cpu_spec")
    offset = evidence.info.offset("cpu_spec.mmu_features")
    if symbol is None or offset is None:
        return not has_pieces
    spec = evidence.u(_linear(symbol))
    return bool(
        evidence.u(_linear(spec) + offset, 4) & (evidence.info.number("RADIX_MMU") or _RADIX)
    )


def _vmemmap(evidence: Evidence) -> Iterator[DirectMap]:
    """The pieces of vmemmap in vmemmap_list; a kernel that runs with the radix MMU lists none."""
    info = evidence.info
    head = info.symbol("vmemmap_list")
    if head is None or not (node := evidence.u(_linear(head))):
        return
    following, phys, virt = (
        info.need(f"OFFSET(vmemmap_backing.{member})") for member in ("list", "phys", "virt_addr")
    )
    size = 1 << _piece_shift(evidence)
    seen: set[int] = set()
    while node and node not in seen and len(seen) < _MAX_PIECES:
        seen.add(node)
        at = _linear(node)
        start = evidence.u(at + virt)
        yield DirectMap(start, start + size, evidence.u(at + phys))
        node = evidence.u(at + following)
    if node:
        raise FormatError("ppc64: vmemmap_list does not end", head)


def _piece_shift(evidence: Evidence) -> int:
    size = evidence.info.need("SIZE(mmu_psize_def)")
    offset = evidence.info.need("OFFSET(mmu_psize_def.shift)")
    index = evidence.info.need("SYMBOL(mmu_vmemmap_psize)")
    table = evidence.info.need("SYMBOL(mmu_psize_defs)")
    which = evidence.u(_linear(index), 4)
    shift = evidence.u(_linear(table) + which * size + offset, 4)
    if not 12 <= shift <= 34:
        raise FormatError(f"ppc64: vmemmap_list has pieces of 2^{shift} bytes, which no kernel has")
    return shift


def _linear(virt: int) -> int:
    if virt >> 60 != LINEAR >> 60:
        raise FormatError("ppc64: not an address of the linear map", virt)
    return virt - LINEAR


def _sections(info: Vmcoreinfo) -> Sequence[SectionBits]:
    """Sections of 24 bits; memory of 44, since 3.7 of 46, since 4.19 of 47, since 4.20 of 51."""
    return [SectionBits(24, physmem) for physmem in (51, 47, 46, 44)]


REGISTERS = (  # ppc has the same, with mq instead of softe
    *numbered("r", 32), "nip", "msr", "orig_r3", "ctr", "lr", "xer", "cr", "softe", "trap",
    "dar", "dsisr", "result",
)  # fmt: skip
# kexec-tools moves the low 64 KiB and firmware-assisted dumps move more, so `moved_below` is None.
ARCH = Arch(
    name="ppc64",
    machine=EM_PPC64,
    little_name="ppc64le",
    kernel_base=LINEAR,
    space=_space,
    sections=_sections,
    huge_orders={16: (5, 8, 14, 18)},
    status=wide(*REGISTERS),
)
