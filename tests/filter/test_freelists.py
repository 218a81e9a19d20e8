# SPDX-License-Identifier: MIT
"""Free lists: real crashes hold in them what their struct pages mark; and lists that are broken."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.budget import cpu_seconds
from support.crash import Model
from support.crash_arch import X86_64
from support.crash_arch_more import MACHINES
from support.crash_lists import MARK, Lists
from support.makedumpfile import theirs
from support.marked import dead, run
from support.recorded import each_golden
from support.recorded_dumps import dump, kept, save_vmcore

from oldmemfs.filter import freelists
from oldmemfs.filter.classes import Class
from oldmemfs.filter.filtered import filtered
from oldmemfs.filter.freelists import FreeLists
from oldmemfs.filter.memmap import memory_map
from oldmemfs.options import Options
from oldmemfs.ranges import Range
from oldmemfs.sources import open_source

if TYPE_CHECKING:
    from pathlib import Path

    from support.crash_arch import Machine


def block(pfn: int, order: int) -> Range:
    return Range(pfn, pfn + (1 << order))


@each_golden
def test_real_lists_hold_what_is_marked(golden: str) -> None:
    crash = dump(golden)
    header, kernel = crash.header, crash.kernel
    marked = filtered(kernel, header, b"", 16)
    lists = FreeLists(kernel, memory_map(kernel))
    blocks = list(lists.blocks())
    assert not lists.doubts
    assert sum(b.size for b in blocks) == marked.classes.counts[Class.FREE]
    assert not any(p in marked.classes.kept for b in blocks for p in range(*b))


@each_golden
@pytest.mark.skipif(
    not shutil.which("makedumpfile"), reason="no makedumpfile here: apt-get install makedumpfile"
)
def test_makedumpfile_walks_them_too(golden: str, tmp_path: Path) -> None:
    """The same real crash, as a kernel that does not export how it marks free pages."""
    path = tmp_path / "vmcore"
    save_vmcore(dump(golden), path)
    data = path.read_bytes()
    at = data.index(MARK.encode(), 0, 1 << 20)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"N")
        file.write(b"X" * (len(MARK) - 1))
    crash = open_source(str(path), Options())
    found = filtered(crash.kernel, crash.header, b"", 31)
    assert found.classes.counts[Class.FREE] > 10000
    assert "how free pages are marked is not known: the free lists are walked" in found.doubts
    zeros = {p for z in found.classes.zeros for p in range(*z)}
    assert ((kept(found.classes) | zeros) ^ theirs(path, 30, tmp_path)) - {0x9F} == set()


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.name)
def test_every_machine(machine: Machine) -> None:
    model = Model.VMEMMAP if machine.word == 8 else Model.EXTREME
    crash = dead(machine, {}, model=model)
    lists = Lists(crash)
    top = (machine.ram[-1][1] >> machine.page_shift) - 64 & ~15
    lists.chain(0, 0, [top + 1, top + 9, top + 3])
    lists.chain(4, 2, [top + 32, top + 16])
    found, doubts = lists.walk()
    assert not doubts
    assert found == {block(top + n, 0) for n in (1, 9, 3)} | {
        block(top + 16, 4), block(top + 32, 4)
    }  # fmt: skip
    result = run(crash, 16)
    assert result.classes.counts[Class.FREE] == 35
    assert result.doubts == ["how free pages are marked is not known: the free lists are walked"]


BASE = 0x10000


@pytest.fixture
def lists() -> Lists:
    crash = dead(X86_64, {})
    made = Lists(crash)
    made.chain(1, 0, [BASE, BASE + 2, BASE + 4])
    made.chain(2, 1, [BASE + 8])
    return made


def test_a_list_ends_where_it_breaks(lists: Lists) -> None:
    """A link into nowhere, a link back to the wrong entry, an entry that is not aligned."""
    second, third = lists.entry(BASE + 2), lists.entry(BASE + 4)
    good = {block(BASE, 1), block(BASE + 8, 2)}
    first, odd = (lists.entry(BASE + n) for n in (0, 5))
    no_block = "no free block of order 1"
    for link, value, why in (
        (second + 8, third, f"points back to {third:#x} (at {second:#x})"),
        (first, second + 4, f"{no_block} (at {second + 4:#x})"),
        (first, 0x1234, f"{no_block} (at 0x1234)"),
        (first, odd, f"{no_block} (at {odd:#x})"),
        (first, first, f"points back to {lists.head(1, 0):#x} (at {first:#x})"),
    ):
        kernel = lists.crash.kernel()
        phys = kernel.phys(link)
        before = lists.crash.memory.read(phys, 8)
        lists.crash.ram.write(phys, value.to_bytes(8, "little"))
        found, (doubt,) = lists.walk()
        assert found == good, why
        assert why in doubt
        assert "could not be walked: 1," in doubt
        lists.crash.ram.write(phys, before)
    assert lists.walk()[0] == good | {block(BASE + 2, 1), block(BASE + 4, 1)}


def test_a_loop_ends(lists: Lists) -> None:
    """From the last entry back to the first: that one points back to the head."""
    at = lists.crash.kernel().phys(lists.entry(BASE + 4))
    lists.crash.ram.write(at, lists.entry(BASE).to_bytes(8, "little"))
    found, doubts = lists.walk()
    assert len(found) == 4
    assert len(doubts) == 1


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("OFFSET(pglist_data.nr_zones)", None, "VMCOREINFO has no OFFSET(pglist_data.nr_zones)"),
        ("SIZE(zone)", "8", "VMCOREINFO says SIZE(zone)=8, which"),
        ("SIZE(list_head)", "9223372036854775808", "SIZE(list_head)=9223372036854775808, which"),
        ("LENGTH(zone.free_area)", "4000000000", "LENGTH(zone.free_area)=4000000000, which"),
        (
            "LENGTH(free_area.free_list)",
            "17",
            "LENGTH(free_area.free_list)=17, which",
        ),
        (
            "SYMBOL(contig_page_data)",
            None,
            "none of SYMBOL(node_data), SYMBOL(contig_page_data)",
        ),
        ("SYMBOL(contig_page_data)", "1000", "cannot be read"),
        ("OFFSET(page.lru)", "1048577", "VMCOREINFO says OFFSET(page.lru)=1048577, which"),
        ("OFFSET(page.lru)", None, "VMCOREINFO has no OFFSET(page.lru)"),
        ("SIZE(zone)", None, "VMCOREINFO has no SIZE(zone)"),
        ("SIZE(zone)", "1048577", "VMCOREINFO says SIZE(zone)=1048577, which"),
        ("SIZE(list_head)", "15", "VMCOREINFO says SIZE(list_head)=15, which"),
        ("LENGTH(zone.free_area)", "0", "VMCOREINFO says LENGTH(zone.free_area)=0, which"),
        ("LENGTH(zone.free_area)", "33", "VMCOREINFO says LENGTH(zone.free_area)=33, which"),
        ("LENGTH(zone.free_area)", None, "VMCOREINFO has no LENGTH(zone.free_area)"),
    ],
)
def test_what_is_missing_is_said(lists: Lists, key: str, value: str | None, why: str) -> None:
    if value is None:
        del lists.crash.lines[key]
    else:
        lists.crash.lines[key] = value
    found = run(lists.crash, 16)
    assert found.classes.counts[Class.FREE] == 0
    assert any(why in doubt for doubt in found.doubts), found.doubts


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("SIZE(zone)", str(1 << 20)),
        ("OFFSET(zone.spanned_pages)", str(1 << 20)),
        ("LENGTH(free_area.free_list)", "16"),
        ("LENGTH(zone.free_area)", "32"),
        ("LENGTH(zone.free_area)", "1"),
        ("LENGTH(free_area.free_list)", "1"),
    ],
)
def test_the_largest_and_the_smallest_that_are_taken(lists: Lists, key: str, value: str) -> None:
    """Numbers at their limits are believed: lists are read, wherever that leads."""
    lists.crash.lines[key] = value
    assert not any(key in doubt for doubt in lists.walk()[1])


def test_one_order_of_one_kind(lists: Lists) -> None:
    """The smallest page allocator: only the first list of the first area counts."""
    lists.chain(0, 0, [BASE + 100])
    lists.chain(0, 1, [BASE + 200])  # of another kind: not there
    lists.crash.lines["LENGTH(zone.free_area)"] = "1"
    for types in ("1", None):  # one kind, as before 2.6.24
        if types is None:
            del lists.crash.lines["LENGTH(free_area.free_list)"]
        else:
            lists.crash.lines["LENGTH(free_area.free_list)"] = types
        assert lists.walk() == ({block(BASE + 100, 0)}, [])


def test_lists_that_are_no_pages(lists: Lists) -> None:
    """Entries just before the first struct page and just behind the last one; and that last one."""
    crash = lists.crash
    (whole,) = crash.maps
    first = crash.kernel().phys(lists.head(0, 0))
    for virt in (whole.virt - 64, whole.virt + whole.size):
        crash.ram.write(first, (virt + 8).to_bytes(8, "little"))
        found, (doubt,) = lists.walk()
        assert len(found) == 4
        assert doubt.endswith(f"an entry that is no free block of order 0 (at {virt + 8:#x})")
    lists.chain(0, 0, [whole.end - 1, 0])
    assert {block(whole.end - 1, 0), block(0, 0)} <= lists.walk()[0]


def test_zones_without_pages_are_passed_over(lists: Lists) -> None:
    """What stands in them was never set up; and no more zones than an array holds are looked at."""
    crash = lists.crash
    spanned = lists.zone + 8
    lists.write(spanned, 0)
    assert lists.walk() == (set(), [])
    lists.write(spanned, 1)
    nr_zones = lists.node + int(crash.lines["OFFSET(pglist_data.nr_zones)"])
    lists.write(nr_zones, 1, 4)
    assert lists.walk() == (set(), [])
    crash.lines["OFFSET(pglist_data.node_zones)"] = str(lists.zone - lists.node)
    assert len(lists.walk()[0]) == 4
    lists.write(nr_zones, 0xFFFFFFFF, 4)
    with cpu_seconds(60):
        assert len(lists.walk()[0]) >= 4


def test_a_name_without_its_length_is_no_array_of_nodes(lists: Lists) -> None:
    lists.crash.symbol("node_data", lists.node)
    assert len(lists.walk()[0]) == 4
    del lists.crash.lines["SYMBOL(node_data)"]
    lists.crash.lines["LENGTH(node_data)"] = "4"
    assert len(lists.walk()[0]) == 4


def test_as_many_nodes_as_there_can_be(lists: Lists) -> None:
    array = lists.crash.write_linear(lists.node.to_bytes(8, "little") + bytes(8 * 4095))
    lists.crash.symbol("pgdat_list", array)
    lists.crash.lines["LENGTH(pgdat_list)"] = "4096"
    del lists.crash.lines["SYMBOL(contig_page_data)"]
    assert len(lists.walk()[0]) == 4


def test_more_lists_than_there_can_be(lists: Lists, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page tables may repeat one node's memory at any number of addresses."""
    monkeypatch.setattr(freelists, "_MAX_LISTS", 33)  # 11 orders of 3 kinds
    found, doubts = lists.walk()
    assert len(found) == 4
    assert not doubts
    monkeypatch.setattr(freelists, "_MAX_LISTS", 32)
    found, (doubt,) = lists.walk()
    assert len(found) == 4  # those of the nodes so far
    assert doubt.endswith(f"more than 32 free lists (at {lists.node:#x})")


def test_a_walk_begins_anew(lists: Lists) -> None:
    """What the last one doubted is forgotten."""
    kernel = lists.crash.kernel()
    walked = FreeLists(kernel, memory_map(kernel))
    at = kernel.phys(lists.entry(BASE + 8))
    good = lists.crash.memory.read(at, 8)
    lists.crash.ram.write(at, bytes(8))
    list(walked.blocks())
    assert len(walked.doubts) == 1
    lists.crash.ram.write(at, good)
    list(walked.blocks())
    assert not walked.doubts


def test_every_node_is_walked(lists: Lists) -> None:
    other = Lists(lists.crash)
    other.chain(3, 2, [BASE + 16])
    nodes = lists.node.to_bytes(8, "little") + other.node.to_bytes(8, "little")
    lists.crash.symbol("node_data", lists.crash.write_linear(nodes))
    lists.crash.lines["LENGTH(node_data)"] = "2"
    found, doubts = lists.walk()
    assert found == {block(BASE + n, 1) for n in (0, 2, 4)} | {
        block(BASE + 8, 2), block(BASE + 16, 3)
    }  # fmt: skip
    assert not doubts


def test_arrays_in_any_order(lists: Lists) -> None:
    """The struct pages of higher pages may lie lower."""
    (whole,) = lists.crash.maps
    half = whole.count // 2
    low = replace(whole, pfn=half, count=half)
    high = replace(whole, pfn=0, count=half, virt=whole.virt + half * whole.struct_size)
    walked = FreeLists(lists.crash.kernel(), [high, low])
    moved = {block((BASE + n + half) % (2 * half), 1) for n in (0, 2, 4)}
    assert set(walked.blocks()) == moved | {block((BASE + 8 + half) % (2 * half), 2)}
    assert not walked.doubts


def test_no_node_is_named(lists: Lists) -> None:
    del lists.crash.lines["SYMBOL(contig_page_data)"]
    (doubt,) = lists.walk()[1]
    assert doubt == (
        "free pages are kept: lists that could not be walked: 1, the first: VMCOREINFO has "
        "none of SYMBOL(node_data), SYMBOL(contig_page_data)"
    )


def test_too_many_nodes(lists: Lists) -> None:
    lists.crash.symbol("node_data", lists.node)
    lists.crash.lines["LENGTH(node_data)"] = "4097"
    assert "VMCOREINFO says LENGTH(node_data)=4097, which" in lists.walk()[1][0]


def test_nodes_of_an_array(lists: Lists) -> None:
    """NUMA: pointers, of which some are null and some the same."""
    pointers = (0, lists.node, 0, lists.node)
    array = lists.crash.write_linear(b"".join(p.to_bytes(8, "little") for p in pointers))
    lists.crash.symbol("node_data", array)
    lists.crash.lines["LENGTH(node_data)"] = "4"
    del lists.crash.lines["SYMBOL(contig_page_data)"]
    found, doubts = lists.walk()
    assert len(found) == 4
    assert not doubts
