# SPDX-License-Identifier: MIT
"""Which keys of VMCOREINFO turn which rule on, and what is refused."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from support.pagemodel import GENERATIONS, Generation

from oldmemfs.errors import FormatError
from oldmemfs.filter.rules import Rules
from oldmemfs.kernel.arch import x86_64
from oldmemfs.kernel.vmcoreinfo import Vmcoreinfo

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HUGE = x86_64.ARCH.huge_orders
BY_NAME = {g.name: g for g in GENERATIONS}


def rules(text: bytes, huge_orders: Mapping[int, Sequence[int]] = HUGE) -> Rules:
    info = Vmcoreinfo.parse(text)
    return Rules.from_vmcoreinfo(info, 8, big_endian=False, huge_orders=huge_orders)


def without(generation: Generation, *keys: str) -> bytes:
    lines = generation.text(8).split(b"\n")
    return b"\n".join(x for x in lines if x.split(b"=")[0].decode() not in keys)


@pytest.mark.parametrize("generation", GENERATIONS, ids=lambda g: g.name)
def test_every_generation_is_understood(generation: Generation) -> None:
    found = rules(generation.text(8))
    assert found.gaps == ()
    assert (found.head is None) == (generation.name == "3.10")
    assert found.sweeps(0)


@pytest.mark.parametrize(
    ("name", "order", "dtor"),
    [
        ("3.10", (16, 8), (8, 8, 0x81234560)),
        ("4.4", (20, 2), (16, 2, 2)),
        ("4.18", (20, 1), (16, 1, 2)),
        ("6.3", (17, 1), (16, 1, 2)),
        ("6.6", None, None),
    ],
)
def test_where_the_second_page_has_what(
    name: str, order: tuple[int, int] | None, dtor: tuple[int, int, int] | None
) -> None:
    found = rules(BY_NAME[name].text(8))
    assert (found.order, found.dtor) == (order, dtor)


def test_swapbacked_is_guessed_only_below_private() -> None:
    """As makedumpfile does for kernels that share PG_swapcache but do not export PG_swapbacked."""
    assert rules(BY_NAME["4.10"].text(8)).bits["swapbacked"] == 19
    assert "swapbacked" not in rules(BY_NAME["4.4"].text(8)).bits


def test_tails_of_7_1_are_told_by_the_new_key() -> None:
    text = BY_NAME["7.1"].text(8).replace(b"compound_info)=8", b"compound_info)=16")
    assert rules(text).head == 16
    assert rules(text + b"\nOFFSET(page.compound_head)=8").head == 16


def test_huge_page_orders_are_the_machines() -> None:
    text = BY_NAME["6.6"].text(8)
    assert rules(text).hugetlb_orders == 1 << 9 | 1 << 18
    assert not rules(text, {}).hugetlb_orders & 1


@pytest.mark.parametrize(
    ("key", "gap"),
    [
        ("OFFSET(page.mapping)", "page cache and user pages are kept"),
        ("OFFSET(page._mapcount)", "how free pages are marked"),
        ("OFFSET(page.private)", "how free pages are marked"),
        ("NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)", "how free pages are marked"),
        ("LENGTH(zone.free_area)", "how free pages are marked"),
        ("OFFSET(page.compound_order)", "the size of compound pages"),
    ],
)
def test_a_missing_key_is_a_gap(key: str, gap: str) -> None:
    (found,) = rules(without(BY_NAME["6.1"], key)).gaps
    assert gap in found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (without(BY_NAME["6.1"], "SIZE(page)"), "VMCOREINFO has no SIZE(page)"),
        (without(BY_NAME["6.1"], "OFFSET(page.flags)"), "VMCOREINFO has no OFFSET(page.flags)"),
        (without(BY_NAME["6.1"], "PAGESIZE"), "VMCOREINFO has no PAGESIZE"),
        (without(BY_NAME["6.1"], "OFFSET(page.compound_head)"),
         "none of OFFSET(page.compound_head), OFFSET(page.compound_info)"),
        (BY_NAME["6.1"].text(8).replace(b"SIZE(page)=64", b"SIZE(page)=0"), "SIZE(page)=0, which"),
        (BY_NAME["6.1"].text(8).replace(b"SIZE(page)=64", b"SIZE(page)=9223372036854775808"),
         "SIZE(page)=9223372036854775808, which no kernel has (accepted: 16 to 4096)"),
        (BY_NAME["6.1"].text(8).replace(b"page.flags)=0", b"page.flags)=60"),
         "OFFSET(page.flags)=60, which no kernel has (accepted: 0 to 56)"),
        (BY_NAME["6.1"].text(8).replace(b"PAGESIZE=4096", b"PAGESIZE=4097"), "PAGESIZE=4097,"),
        (BY_NAME["6.1"].text(8).replace(b"(PG_lru)=4", b"(PG_lru)=64"), "(PG_lru)=64, which"),
        (BY_NAME["6.1"].text(8).replace(b"(PG_lru)=4", b"(PG_lru)=-1"), "(PG_lru)=-1, which"),
    ],
)  # fmt: skip
def test_refused(text: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=re.escape(why)):
        rules(text)


def test_absurd_orders_are_not_believed() -> None:
    text = BY_NAME["6.1"].text(8).replace(b"free_area)=11", b"free_area)=4000000000")
    found = rules(text)
    assert found.orders == 0
    assert found.gaps
