# SPDX-License-Identifier: MIT
"""s390x: an identity map, and page tables for the rest.

Up to 6.9 a virtual address below high_memory equals the physical one. Since 6.10 they differ::

    0..2000 | amode31 |   | identity: base + phys |   | tables |   | kernel image ...
     phys      phys         0..                                      KERNELOFFPHYS..

VMCOREINFO has the bases (IDENTITYBASE, KERNELOFFSET, KERNELOFFPHYS); so has os_info, whose address
is in the lowcore at 0xe18.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from ...elf.header import EM_S390
from ...elf.notes import NT_PRFPREG
from ...elf.registers import Group, PrStatus, numbered
from ...errors import FormatError
from ...ranges import Range
from .paging import NEVER, Address, Level, Match, Paging, TableCache
from .space import Arch, DirectMap, Evidence, SectionBits, Space, layered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..vmcoreinfo import Vmcoreinfo

_LOWCORE_SIZE = 0x2000
_LOWCORE_OS_INFO = 0xE18
_OS_INFO_MAGIC = 0x4F53494E464F535A  # "OSINFOSZ"
_OS_INFO = struct.Struct(">32x" + "Q8x4x" * 10)  # the values of its first ten entries
# Of an entry above the pages: 0x20 means invalid, 0xc is its type, 0x400 means a large frame.
_LEVELS = (
    Level(53, 11, Match(0x2C, 0xC), NEVER),
    Level(42, 11, Match(0x2C, 0x8), NEVER),
    Level(31, 11, Match(0x42C, 0x4), Match(0x42C, 0x404)),
    Level(20, 11, Match(0x42C, 0x0), Match(0x42C, 0x400)),
    Level(12, 8, NEVER, Match(0xC00, 0)),
)


class _Bases(NamedTuple):
    """6.10 and later: where the identity map, the kernel image, vmemmap and amode31 start."""

    identity: int
    image: int
    image_phys: int
    vmemmap: int
    amode31: Range


def _space(evidence: Evidence) -> Space:
    virt = evidence.info.need("SYMBOL(swapper_pg_dir)")
    bases = _stated(evidence) or _os_info(evidence)
    direct_maps = layered(_apart(evidence, bases) if bases else [_together(evidence, virt)])
    root = next(Space(None, direct_maps).spans(virt, 1)).phys
    if root is None:
        raise FormatError(f"s390x: swapper_pg_dir at {virt:#x} is in no known direct map")
    # The type bits of the root's first entry give the number of levels, even if it is invalid.
    levels = _LEVELS[3 - (evidence.u(root) >> 2 & 3) :]
    covers = Range(0, 1 << levels[0].shift + levels[0].bits)
    frame, table = Address(-0x1000 % (1 << 64)), Address(-0x800 % (1 << 64))
    cache = TableCache(evidence.memory)
    return Space(
        Paging(cache, root, covers, levels, frame, table, struct.Struct(">Q")), direct_maps
    )


def _together(evidence: Evidence, virt: int) -> DirectMap:
    """Up to 6.9: one identity map up to high_memory; that is ignored if it is below the kernel."""
    symbol = evidence.info.symbol("high_memory")
    high = evidence.u(symbol) if symbol else 0
    return DirectMap(0, high if high > virt else evidence.memory.end, 0)


def _apart(evidence: Evidence, bases: _Bases) -> list[DirectMap]:
    """6.10 and later: lowcore, amode31, the identity map and the kernel image."""
    end = bases.identity + evidence.memory.end
    if bases.vmemmap:
        end = min(end, bases.vmemmap)
    return [
        DirectMap(0, _LOWCORE_SIZE, 0),
        DirectMap(*bases.amode31, bases.amode31.start),
        DirectMap(bases.identity, min(end, bases.image), 0),
        DirectMap(bases.image, 1 << 64, bases.image_phys),
    ]


def _stated(evidence: Evidence) -> _Bases | None:
    """The bases in VMCOREINFO; None if it lacks one of them."""
    info = evidence.info
    identity, image = info.hex("IDENTITYBASE"), info.kernel_offset
    image_phys = info.hex("KERNELOFFPHYS")
    if identity is None or image is None or image_phys is None:
        return None
    amode31 = Range(info.hex("SAMODE31") or 0, info.hex("EAMODE31") or 0)
    return _Bases(identity, image, image_phys, 0, amode31)


def _os_info(evidence: Evidence) -> _Bases | None:
    """The bases in os_info; None before 6.10, whose os_info has 0 as the KASLR offset."""
    at = evidence.u(_LOWCORE_OS_INFO)
    if not at or at % 0x1000 or at >= evidence.memory.end:
        return None
    if evidence.u(at) != _OS_INFO_MAGIC:
        return None
    entries = _OS_INFO.unpack(evidence.memory.read(at, _OS_INFO.size))
    identity, image, image_phys, vmemmap, start, end = entries[4:]
    return _Bases(identity, image, image_phys, vmemmap, Range(start, end)) if image else None


def _sections(info: Vmcoreinfo) -> Sequence[SectionBits]:
    """Sections of 28 bits; memory of 42, since 3.3 of 46, later as configured, up to 53."""
    return [SectionBits(28, physmem) for physmem in (46, 42, 53, 47, 48, 49, 50, 51, 52)]


_STATUS = PrStatus(
    pid=32,
    has_pid=False,
    groups=(
        Group(112, 8, ("pswm", "pswa", *numbered("r", 16))),
        Group(256, 4, numbered("a", 16)),
        Group(320, 8, ("orig_r2",)),
    ),
    notes={  # NT_PRFPREG, and NT_S390_*
        NT_PRFPREG: (Group(0, 4, ("fpc",)), Group(8, 8, numbered("f", 16))),
        0x301: (Group(0, 8, ("timer",)),),
        0x302: (Group(0, 8, ("todcmp",)),),
        0x303: (Group(0, 4, ("todpreg",)),),
        0x304: (Group(0, 8, numbered("c", 16)),),
        0x305: (Group(0, 4, ("prefix",)),),
        0x309: (Group(0, 8, tuple(f"v{i}.low" for i in range(16))),),  # the upper halves are f0..15
        0x30A: (Group(0, 16, tuple(f"v{i}" for i in range(16, 32))),),
    },
)
ARCH = Arch(
    name="s390x",
    machine=EM_S390,
    kernel_base=0,
    space=_space,
    sections=_sections,
    huge_orders={12: (8, 19)},
    status=_STATUS,
)
