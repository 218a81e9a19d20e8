"""Space: what an architecture makes of a dead kernel's virtual addresses, and from what evidence.

A space is windows, each a straight piece of physical memory, and page tables for all between::

    virt   |------ window ------|  tables  |--- window ---|      tables       |
    phys   0                               0x4000000

Each architecture is one ``Arch``: its numbers, and the function that solves its space.
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
    """A PT_LOAD of the ELF header: where the first kernel said it saw that memory."""

    virt: int
    phys: int
    size: int

    @property
    def is_virtual(self) -> bool:
        """Whether ``virt`` says anything: who does not know writes 0 or all ones."""
        return self.virt not in (0, (1 << 32) - 1, (1 << 64) - 1)


class SectionBits(NamedTuple):
    """How SPARSEMEM cuts memory: sections of ``1 << section`` of ``1 << physmem`` bytes."""

    section: int
    physmem: int


class DirectMap(NamedTuple):
    """``[start, end)`` is at ``phys``."""

    start: int
    end: int
    phys: int


def layered(direct_maps: Iterable[DirectMap]) -> tuple[DirectMap, ...]:
    """Sorted, disjoint windows: of two that overlap, the one that starts first keeps its end."""
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
    """Windows, sorted and disjoint, and what the page tables say of the rest.

    ``tag`` holds bits that every kernel address has and some pointers lack (arm64's top byte);
    ``first_pfn`` is what the first element of a flat ``mem_map`` describes.
    """

    paging: Paging | None
    direct_maps: tuple[DirectMap, ...] = ()
    tag: int = 0
    first_pfn: int = 0

    def spans(self, virt: int, size: int) -> Iterator[Span]:
        """``[virt, virt + size)`` in order, as spans."""
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
    """What is known before any virtual address can be translated."""

    memory: Memory
    info: Vmcoreinfo
    big_endian: bool
    page_size: int
    loads: tuple[Load, ...]

    @property
    def page_shift(self) -> int:
        """The page size's logarithm."""
        return self.page_size.bit_length() - 1

    @property
    def order(self) -> Literal["little", "big"]:
        """The byte order, as ``int.from_bytes`` calls it."""
        return "big" if self.big_endian else "little"

    def u(self, phys: int, size: int = 8) -> int:
        """The unsigned integer at ``phys``."""
        return int.from_bytes(self.memory.read(phys, size), self.order)

    def claimed(self, virt: int) -> Iterator[int]:
        """Where the header's PT_LOADs say that ``virt`` is."""
        for load in self.loads:
            if load.is_virtual and load.virt <= virt < load.virt + load.size:
                yield load.phys + (virt - load.virt)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arch(Machine):
    """An architecture whose kernels are understood.

    ``kernel_base`` is below all of its kernel's addresses.

    ``sections`` gives what SPARSEMEM may use where VMCOREINFO does not say, likeliest first.
    """

    word: int = 8  # bytes in an unsigned long
    kernel_base: int
    space: Callable[[Evidence], Space]
    sections: Callable[[Vmcoreinfo], Sequence[SectionBits]]
    # Orders of huge pages by page shift: PMD and PUD size, and groups of such entries. Of a page
    # shift that is not here they are not known.
    huge_orders: Mapping[int, Sequence[int]] = field(default_factory=dict)
