# SPDX-License-Identifier: MIT
"""Rules: what VMCOREINFO says about struct page, as the numbers that C needs to classify pages.

The keys decide, not the kernel's version, with two exceptions that have no key: the widths of two
fields before 6.6, and whether a kernel marks tail pages at all (since 4.4). A rule whose numbers
are missing is off: its pages are kept, and ``gaps`` says so. If it is the rule for free pages, the
free lists are walked instead (``freelists``).

======================================= ==================================================
key                                     kernels
======================================= ==================================================
page.compound_head                      4.4 .. 7.0; page.compound_info since 7.1 (d50569612c29)
page.compound_order, .compound_dtor     4.4 .. 6.2; u16 before 4.16 (036e7aa49fb2), then u8
folio._folio_order, ._folio_dtor        6.3 (1c5509be58f6) .. 6.5; u8, offsets from the head
NUMBER(PG_hugetlb)                      6.6 (9c5ccf2db04b) .. 6.8: a bit of the second page's flags
NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)     6.9 (d99e3140a4d3) and stable 6.6.y: the head's page type
NUMBER(PG_swapbacked)                   4.17 and stable; needed since 4.10 (6326fec1122c), where
                                        PG_swapcache shares its bit with another flag
NUMBER(PG_slab)                         .. 6.9
NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)        6.10 (46df8e73a4a3)
NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)     5.0
NUMBER(PAGE_UNACCEPTED_MAPCOUNT_VALUE)  6.16
======================================= ==================================================

In two cases makedumpfile excludes pages that the kernel needs, and they are kept here. In 6.6 the
huge page bit counts only for orders that huge pages have: drivers leave any value in those flags
(makedumpfile's issue 21: an IDT was lost). In 7.1 tail pages are recognised by compound_info, a
key that makedumpfile up to 1.7.9 does not know; it then excludes tail pages on their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..kernel.vmcoreinfo import PAGE_SIZES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..kernel.vmcoreinfo import Vmcoreinfo

MAX_ORDERS = 32  # kernels have 11 orders of free blocks, 14 with 64 KiB pages on arm64
_MAX_STRUCT = 4096
_ANY_ORDER = (1 << 64) - 2  # a huge page has more than one page


@dataclass(frozen=True, slots=True)
class Rules:
    """Offsets in a struct page, bits of its flags, values of its page type; None: not known."""

    size: int  # bytes of a struct page
    word: int  # bytes in an unsigned long
    big_endian: bool
    page_shift: int
    flags: int
    mapping: int | None
    mapcount: int | None
    private: int | None
    head: int | None  # the word whose bit 0 marks a tail; None before 4.4
    order: tuple[int, int] | None  # offset in the second page, width
    dtor: tuple[int, int, int] | None  # offset in the second page, width, hugetlb's value
    orders: int  # free blocks have orders 0 .. orders - 1; 0: free pages cannot be recognised
    bits: dict[str, int]  # bit numbers in flags, by name; absent: not known
    head_mask: int  # the bits of flags that mark a head
    types: dict[str, int]  # the values of _mapcount that are a page type, as u32
    hugetlb_orders: int = _ANY_ORDER
    gaps: tuple[str, ...] = field(default=())

    @classmethod
    def from_vmcoreinfo(
        cls,
        info: Vmcoreinfo,
        word: int,
        *,
        big_endian: bool,
        huge_orders: Mapping[int, Sequence[int]],
    ) -> Rules:
        """The rules of the kernel that wrote ``info``; ``huge_orders`` is its ``Arch``'s.

        Raises ``FormatError`` when struct page is not understood: then no page can be left out.
        """
        size = info.need("SIZE(page)", among=range(2 * word, _MAX_STRUCT + 1, 4))
        flags = info.need("OFFSET(page.flags)", among=range(size - word + 1))
        shift = info.need("PAGESIZE", among=PAGE_SIZES).bit_length() - 1
        head = _head(info, size, word)
        order, dtor = _second_page(info, size, word)
        types = _types(info)
        orders = info.length("zone.free_area") or 0
        mapcount = _member(info, "page._mapcount", size, 4)
        private = _member(info, "page.private", size, word)
        mapping = _member(info, "page.mapping", size, word)
        bits = _bits(info, word)
        head_mask = info.number("PG_head_mask")
        gaps = []
        if mapping is None:
            gaps.append("OFFSET(page.mapping) is missing: page cache and user pages are kept")
        if None in (mapcount, private) or "buddy" not in types or not 1 <= orders <= MAX_ORDERS:
            gaps.append("how free pages are marked is not known: the free lists are walked")
            orders = 0
        if mapcount is None:
            types = {}
        if order is None and "hugetlb" not in bits and "hugetlb" not in types:
            gaps.append("the size of compound pages is not known: all but their first pages "
                        "are kept")  # fmt: skip
        return cls(
            size, word, big_endian, shift, flags, mapping, mapcount, private, head, order, dtor,
            orders, bits, (1 << 14 if head_mask is None else head_mask) % (1 << 64), types,
            _order_mask(huge_orders.get(shift, ())), tuple(gaps),
        )  # fmt: skip

    def sweeps(self, level: int) -> bool:
        """Whether a sweep over struct pages can exclude anything at this level.

        As in makedumpfile, it takes place if the level excludes cache, user or free pages, or if
        PG_hwpoison is known; then it excludes hwpoison and offline pages whatever the level.
        """
        return bool(level & 14 or "hwpoison" in self.bits or (level & 16 and self.orders))


def _member(info: Vmcoreinfo, name: str, size: int, width: int) -> int | None:
    """The offset of a member of struct page; None if it is missing or outside the struct."""
    offset = info.offset(name)
    return offset if offset is not None and offset + width <= size else None


def _head(info: Vmcoreinfo, size: int, word: int) -> int | None:
    for name in ("page.compound_info", "page.compound_head"):
        offset = _member(info, name, size, word)
        if offset is not None:
            return offset
    if info.version >= (4, 4, 0):
        raise info.missing("OFFSET(page.compound_head)", "OFFSET(page.compound_info)")
    return None


def _second_page(
    info: Vmcoreinfo, size: int, word: int
) -> tuple[tuple[int, int] | None, tuple[int, int, int] | None]:
    """Where the second page of a compound page has its order and its destructor.

    Given as (offset, width) and (offset, width, the destructor's value for hugetlb).
    """
    version = info.version
    old = version < (4, 4, 0)  # before 4.4 both are words, in page.lru's place
    width = word if old else 2 if version < (4, 16, 0) else 1

    def second(name: str, in_list: str) -> int | None:
        if (offset := info.offset(f"folio._folio_{name}")) is not None:
            offset -= size
        elif (offset := info.offset(f"page.compound_{name}")) is None and old:
            lru, member = info.offset("page.lru"), info.offset(f"list_head.{in_list}")
            offset = None if lru is None or member is None else lru + member
        return offset if offset is not None and 0 <= offset <= size - width else None

    order, dtor = second("order", "prev"), second("dtor", "next")
    value = info.symbol("free_huge_page") if old else info.number("HUGETLB_PAGE_DTOR")
    return (
        None if order is None else (order, width),
        None if dtor is None or value is None else (dtor, width, value % (1 << 64)),
    )


def _bits(info: Vmcoreinfo, word: int) -> dict[str, int]:
    """Bit numbers in page.flags; for four of them the values of kernels that do not export them."""
    names = ("lru", "private", "swapcache", "slab", "swapbacked", "hwpoison", "hugetlb")
    bits = {"lru": 5, "private": 11, "swapcache": 15, "slab": 7}
    bits |= {n: b for n in names if (b := info.number(f"PG_{n}")) is not None}
    if "swapbacked" not in bits and bits["swapcache"] < bits["private"]:
        bits["swapbacked"] = bits["private"] + 6
    for name, bit in bits.items():
        if not 0 <= bit < word * 8:
            raise info.missing(f"NUMBER(PG_{name})", among=range(word * 8))
    return bits


def _types(info: Vmcoreinfo) -> dict[str, int]:
    """The values of page._mapcount that are a page type, as unsigned 32-bit numbers."""
    return {
        name: value % (1 << 32)
        for name in ("buddy", "slab", "offline", "unaccepted", "hugetlb")
        if (value := info.number(f"PAGE_{name.upper()}_MAPCOUNT_VALUE")) is not None
    }


def _order_mask(orders: Sequence[int]) -> int:
    return sum(1 << n for n in orders) if orders else _ANY_ORDER
