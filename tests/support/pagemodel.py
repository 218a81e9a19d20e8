# SPDX-License-Identifier: MIT
"""A slow model of the sweep over struct pages, and kernels of every key generation to try it on.

Written from the rules of makedumpfile's __exclude_unnecessary_pages (commit b7587f1), page after
page, with no thought of speed; what oldmemfs does otherwise on purpose is marked. A page is a dict
of its fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from oldmemfs.kernel.vmcoreinfo import Vmcoreinfo

Bytes = bytes | None  # of a struct page; None: it cannot be read


@dataclass(frozen=True)
class Generation:
    """The keys about struct page that kernels of one time export; 64-bit offsets."""

    name: str
    release: str
    keys: dict[str, int]
    width: int = 64  # of a struct page

    def text(self, word: int) -> bytes:
        """VMCOREINFO for machines with this word size: offsets shrink with the word."""
        half = 8 // word
        lines = [f"OSRELEASE={self.release}", "PAGESIZE=4096", f"SIZE(page)={self.width // half}"]
        for key, value in (BASE | self.keys).items():
            if key.startswith("OFFSET("):
                value = value // half if key != "OFFSET(page.flags)" else 0
            if key in ("OFFSET(folio._folio_order)", "OFFSET(folio._folio_dtor)"):
                value = self.width // half + SECOND // half + (key[-6:] == "order)")
            lines.append(f"{key}={value:x}" if key.startswith("SYMBOL") else f"{key}={value}")
        return "\n".join(lines).encode()


SECOND = 16  # where the second page of the 64-bit layouts has what its head wants there
BASE = {
    "OFFSET(page.flags)": 0, "OFFSET(page.lru)": 8, "OFFSET(page.mapping)": 24,
    "OFFSET(page.private)": 40, "OFFSET(page._mapcount)": 48, "LENGTH(zone.free_area)": 11,
    "OFFSET(list_head.next)": 0, "OFFSET(list_head.prev)": 8,
    "NUMBER(PG_lru)": 4, "NUMBER(PG_private)": 13, "NUMBER(PG_swapcache)": 10,
    "NUMBER(PG_head_mask)": 1 << 16, "NUMBER(PG_hwpoison)": 22,
}  # fmt: skip
HEAD = {"OFFSET(page.compound_head)": 8}
SLAB = {"NUMBER(PG_slab)": 9}
DTOR = {"OFFSET(page.compound_dtor)": SECOND, "OFFSET(page.compound_order)": SECOND + 4,
        "NUMBER(HUGETLB_PAGE_DTOR)": 2}  # fmt: skip
FOLIO = {"OFFSET(folio._folio_dtor)": 0, "OFFSET(folio._folio_order)": 0,
         "NUMBER(HUGETLB_PAGE_DTOR)": 2}  # fmt: skip
BACKED = {"NUMBER(PG_swapbacked)": 19}


def types(buddy: int, offline: int = 0, **more: int) -> dict[str, int]:
    """Page types as VMCOREINFO has them: signed."""
    found = {"buddy": buddy} | ({"offline": offline} if offline else {}) | more
    return {f"NUMBER(PAGE_{name.upper()}_MAPCOUNT_VALUE)": value for name, value in found.items()}


def byte(value: int) -> int:
    """A type of 6.12 and later: the top byte, as a signed number."""
    return (value << 24) - (1 << 32)


NEW = types(byte(0xF0), byte(0xF1), hugetlb=byte(0xF4), slab=byte(0xF5))
GENERATIONS = [
    Generation("3.10", "3.10.0-1160.el7",
               types(-128) | SLAB | {"SYMBOL(free_huge_page)": 0x81234560}),
    Generation("4.4", "4.4.0", types(-128) | HEAD | SLAB | DTOR | {"NUMBER(PG_swapcache)": 16}),
    Generation("4.10", "4.10.2", types(-128) | HEAD | SLAB | DTOR),
    Generation("4.18", "4.18.0-553.el8", types(~0x80) | HEAD | SLAB | DTOR | BACKED),
    Generation("5.10", "5.10.0", types(~0x80, ~0x100) | HEAD | SLAB | DTOR | BACKED, 56),
    Generation("6.1", "6.1.0", types(~0x80, ~0x100) | HEAD | SLAB | DTOR | BACKED),
    Generation("6.3", "6.3.1", types(~0x80, ~0x100) | HEAD | SLAB | FOLIO | BACKED),
    Generation("6.6", "6.6.0",
               types(~0x80, ~0x100) | HEAD | SLAB | BACKED | {"NUMBER(PG_hugetlb)": 8}),
    Generation("6.9", "6.9.0", types(~0x80, ~0x100, hugetlb=~0x800) | HEAD | SLAB | BACKED),
    Generation("6.10", "6.10.0",
               types(~0x80, ~0x100, hugetlb=~0x800, slab=~0x1000) | HEAD | BACKED),
    Generation("6.12", "6.12.0", NEW | HEAD | BACKED),
    Generation("6.16", "6.16.0", NEW | types(byte(0xF0), unaccepted=byte(0xF7)) | HEAD | BACKED),
    Generation("7.1", "7.1.0", NEW | types(byte(0xF0), unaccepted=byte(0xF7)) | BACKED
               | {"OFFSET(page.compound_info)": 8}),
]  # fmt: skip


class Model:
    """The rules of one kernel at one level."""

    def __init__(self, info: Vmcoreinfo, word: int, big_endian: bool, level: int) -> None:
        self.info, self.word, self.level = info, word, level
        self.order: Literal["big", "little"] = "big" if big_endian else "little"
        size = info.size_of("page")
        assert size
        self.size = size

    def field(self, page: bytes, offset: int, width: int | None = None) -> int:
        return int.from_bytes(page[offset : offset + (width or self.word)], self.order)

    def member(self, page: bytes, name: str, width: int | None = None) -> int:
        offset = self.info.offset(f"page.{name}")
        assert offset is not None
        return self.field(page, offset, width)

    def bit(self, page: bytes, name: str, default: int | None = None) -> bool:
        number = self.info.number(f"PG_{name}")
        number = default if number is None else number
        return number is not None and bool(self.member(page, "flags") >> number & 1)

    def type(self, page: bytes, name: str) -> bool:
        value = self.info.number(f"PAGE_{name}_MAPCOUNT_VALUE")
        return value is not None and self.member(page, "_mapcount", 4) == value % (1 << 32)

    def compound(self, page: bytes, second: Bytes, pfn: int) -> tuple[int, bool]:
        """Pages in the block, and whether it is hugetlb's (step 4)."""
        info, version = self.info, self.info.version
        mask = info.number("PG_head_mask")
        assert mask
        if pfn % 512 == 511 or second is None or not self.member(page, "flags") & mask:
            return 1, False
        order, huge = 0, False
        width = 1 if version >= (4, 16, 0) else 2 if version >= (4, 4, 0) else self.word
        if info.number("PAGE_HUGETLB_MAPCOUNT_VALUE") is not None:
            order, huge = self.member(second, "flags") & 0xFF, self.type(page, "HUGETLB")
        elif info.number("PG_hugetlb") is not None:
            order, huge = self.member(second, "flags") & 0xFF, self.bit(second, "hugetlb")
            huge = huge and order in (9, 18) and pfn % (1 << order) == 0  # ours: not any driver's
        elif (folio := info.offset("folio._folio_order")) is not None:
            order = self.field(second, folio - self.size, 1)
            dtor = info.offset("folio._folio_dtor")
            assert dtor is not None
            huge = self.field(second, dtor - self.size, 1) == 2
        elif (at := info.offset("page.compound_order")) is not None:
            order = self.field(second, at, width)
            dtor = info.offset("page.compound_dtor")
            assert dtor is not None
            huge = self.field(second, dtor, width) == 2
        elif version < (4, 4, 0):
            lru = info.offset("page.lru")
            assert lru is not None
            order = self.field(second, lru + self.word)
            huge = self.field(second, lru) == info.symbol("free_huge_page")
        if order >= 8 * self.word or pfn % (1 << order):
            order = 0
        return 1 << order, huge

    def verdict(self, page: bytes, second: Bytes, pfn: int) -> tuple[str, int]:
        """A class, or "" for kept; how many pages go with it."""
        info = self.info
        for name in ("page.compound_info", "page.compound_head"):
            if (head := info.offset(name)) is not None:
                if self.field(page, head) & 1:
                    return "", 1
                break
        nr, huge = self.compound(page, second, pfn)
        orders = info.length("zone.free_area")
        assert orders
        slab = self.type(page, "SLAB") or self.bit(page, "slab", 7)
        if self.level & 16:
            if self.type(page, "BUDDY") and not slab:
                order = self.member(page, "private")
                return ("FREE", 1 << order) if order < orders else ("", 1)
            if self.type(page, "UNACCEPTED"):
                return "FREE", 1 << (orders - 1)
        swapcache, private = info.number("PG_swapcache"), info.number("PG_private")
        assert swapcache is not None
        assert private is not None
        guess = private + 6 if swapcache < private else None
        backed = info.number("PG_swapbacked") is None and guess is None
        cache = self.bit(page, "lru") or (
            self.bit(page, "swapcache") and (backed or self.bit(page, "swapbacked", guess))
        )
        anon = bool(self.member(page, "mapping") & 1) and not slab
        fs = self.bit(page, "private")
        if self.level & 2 and cache and not fs and not anon:
            return "CACHE", nr
        if self.level & 4 and cache and not anon:
            return ("CACHE_PRIVATE" if fs else "CACHE"), nr
        if self.level & 8 and (anon or huge):
            return "USER", nr
        if self.bit(page, "hwpoison"):
            return "HWPOISON", nr
        if self.type(page, "OFFLINE") and not slab:
            return "OFFLINE", nr
        return "", 1

    def sweep(
        self, pages: dict[int, Bytes], ram: set[int], sections: Sequence[range]
    ) -> tuple[set[int], dict[str, int]]:
        """The pfns that are kept, and how many went by class."""
        kept, counts = set(ram), dict.fromkeys(
            ("CACHE", "CACHE_PRIVATE", "USER", "FREE", "HWPOISON", "OFFLINE"), 0
        )  # fmt: skip
        for section in sections:
            pfn = section.start
            while pfn < section.stop:
                page = pages[pfn]
                if pfn not in ram or page is None:
                    pfn += 1
                    continue
                second = pages[pfn + 1] if pfn + 1 in section else None
                name, nr = self.verdict(page, second, pfn)
                if not name:
                    pfn += 1
                    continue
                gone = kept & set(range(pfn, min(pfn + nr, max(ram) + 1)))
                counts[name] += len(gone)
                kept -= gone
                pfn += nr
        return kept, counts


def draw_page(rng: random.Random, model: Model) -> bytes:
    """A struct page of corner cases: mostly plain, mostly of values that mean something."""
    info, word = model.info, model.word
    page = bytearray(rng.choice((b"\0", b"\xff")) * model.size)

    def put(offset: int | None, value: int, width: int = word) -> None:
        if offset is not None and offset + width <= model.size:
            page[offset : offset + width] = (value % (1 << 8 * width)).to_bytes(width, model.order)

    numbers = [n for key in info.values if key.startswith("NUMBER(PG_")
               and (n := info.number(key[7:-1])) is not None and n < 8 * word]  # fmt: skip
    mask = info.number("PG_head_mask") or 0
    flags = sum(1 << n for n in {rng.choice([*numbers, 7, 19]) for _ in range(rng.randrange(4))})
    flags |= mask * (rng.random() < 0.4)
    flags |= rng.choice((0, 1, 2, 3, 5, 9, 18, 63, 64, 255)) * (rng.random() < 0.5)
    put(info.offset("page.flags"), flags)
    put(info.offset("page.mapping"), rng.choice((0, 0, 1, 2, 3, -64, -63)))
    values = [v for key in info.values if key.endswith("MAPCOUNT_VALUE)")
              and (v := info.number(key[7:-1])) is not None]  # fmt: skip
    put(info.offset("page._mapcount"), rng.choice([-1, -1, 0, *values, values[0] + 1]), 4)
    put(info.offset("page.private"), rng.choice((0, 0, 1, 2, 3, 8, 10, 11, 12, -1, 1 << 30)))
    head = info.offset("page.compound_info") or info.offset("page.compound_head")
    put(head, rng.choice((0, -64, -64, -63)))
    dtor, order = rng.choice((0, 1, 2, 0x81234560)), rng.choice((0, 1, 2, 4, 9, 31, 33, 64, 200))
    size = model.size
    for where in (info.offset("page.compound_dtor"), info.offset("folio._folio_dtor")):
        put(None if where is None else where % size, dtor, 1)
    for where in (info.offset("page.compound_order"), info.offset("folio._folio_order")):
        put(None if where is None else where % size, order, 1)
    if info.version < (4, 4, 0):
        lru = info.offset("page.lru") or 0
        put(lru, dtor)
        put(lru + word, order)
    return bytes(page)
