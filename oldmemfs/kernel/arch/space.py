# SPDX-License-Identifier: MIT
"""Space: the translation of a dead kernel's virtual addresses, and what it is computed from.

A space is direct maps, each one straight piece of physical memory, and page tables for the rest::

    virt   |----- direct map ---|  tables  |- direct map -|      tables       |
    phys   0                               0x4000000

Each architecture is one ``Arch``: its numbers, and the function that makes a ``Space`` from
``Evidence``.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Literal, NamedTuple

from .machine import Machine
from .paging import Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ...maps.memory import Memory
    from ..vmcoreinfo import Vmcoreinfo
    from .paging import Paging

_start = attrgetter("start")


class Load(NamedTuple):
    """A PT_LOAD of the ELF header: the first kernel had ``phys`` mapped at ``virt``."""

    virt: int
    phys: int
    size: int

    @property
    def is_virtual(self) -> bool:
        """Whether ``virt`` is an address; loaders that do not know it write 0 or all ones."""
        return self.virt not in (0, (1 << 32) - 1, (1 << 64) - 1)


class SectionBits(NamedTuple):
    """SPARSEMEM's sizes: sections of ``1 << section`` bytes, memory of ``1 << physmem`` bytes."""

    section: int
    physmem: int


class DirectMap(NamedTuple):
    """The virtual addresses ``[start, end)`` are at ``phys`` and following."""

    start: int
    end: int
    phys: int


def layered(direct_maps: Iterable[DirectMap]) -> tuple[DirectMap, ...]:
    """Sorted and disjoint; where two overlap, the one that starts first is kept whole."""
    placed: list[DirectMap] = []
    end = 0
    for direct in sorted(direct_maps, key=_start):
        start = max(direct.start, end)
        if start < direct.end:
            placed.append(DirectMap(start, direct.end, direct.phys + (start - direct.start)))
            end = direct.end
    return tuple(placed)


@dataclass(frozen=True, slots=True)
class Space:
    """Direct maps, sorted and disjoint, and the page tables for the rest (None: nothing is mapped).

    ``tag`` is set in every address before it is translated: some pointers lack these bits (arm64:
    KASAN and MTE change the top byte). ``first_pfn`` is the page frame that the first element of a
    flat ``mem_map`` describes.
    """

    paging: Paging | None
    direct_maps: tuple[DirectMap, ...] = ()
    tag: int = 0
    first_pfn: int = 0

    def spans(self, virt: int, size: int) -> Iterator[Span]:
        """The spans of ``[virt, virt + size)``, in order."""
        virt |= self.tag
        end = virt + size
        while virt < end:
            i = bisect_right(self.direct_maps, virt, key=_start)
            if i and virt < self.direct_maps[i - 1].end:
                direct = self.direct_maps[i - 1]
                stop = min(end, direct.end)
                yield Span(direct.phys + (virt - direct.start), stop - virt)
            else:
                stop = min(end, self.direct_maps[i].start) if i < len(self.direct_maps) else end
                if self.paging:
                    yield from self.paging.spans(virt, stop)
                else:
                    yield Span(None, stop - virt)
            virt = stop


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known before virtual addresses can be translated."""

    memory: Memory
    info: Vmcoreinfo
    big_endian: bool
    page_size: int
    loads: tuple[Load, ...]

    @property
    def page_shift(self) -> int:
        """The page size as a power of two."""
        return self.page_size.bit_length() - 1

    @property
    def order(self) -> Literal["little", "big"]:
        """The byte order, as ``int.from_bytes`` calls it."""
        return "big" if self.big_endian else "little"

    def u(self, phys: int, size: int = 8) -> int:
        """The unsigned integer of ``size`` bytes at ``phys``; ``FaultError`` if unreadable."""
        return int.from_bytes(self.memory.read(phys, size), self.order)

    def claimed(self, virt: int) -> Iterator[int]:
        """The physical addresses that the header's PT_LOADs give for ``virt``."""
        for load in self.loads:
            if load.is_virtual and load.virt <= virt < load.virt + load.size:
                yield load.phys + (virt - load.virt)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arch(Machine):
    """An architecture whose kernels can be read.

    ``kernel_base`` is the lowest address that a kernel pointer can have. ``space`` makes the
    translation; it raises ``FormatError`` or ``FaultError``. ``sections`` gives the sizes that
    SPARSEMEM may have if VMCOREINFO does not say, the most likely one first.
    """

    word: int = 8  # bytes in an unsigned long
    kernel_base: int
    space: Callable[[Evidence], Space]
    sections: Callable[[Vmcoreinfo], Sequence[SectionBits]]
    # The orders that huge pages can have, by page shift: the sizes of PMD and PUD, and arm64's and
    # riscv's contiguous groups of entries. A page shift that is not here: any order is possible.
    huge_orders: Mapping[int, Sequence[int]] = field(default_factory=dict)
