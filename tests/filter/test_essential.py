# SPDX-License-Identifier: MIT
"""Must-haves: what a dump is nothing without is kept, and looked up a few at a time."""

from __future__ import annotations

import struct
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from support.crash_arch import X86_64
from support.marked import ANON, HEAD, PAGE, dead, run

from oldmemfs.filter.classes import Class
from oldmemfs.filter.essential import Essential, Essentials, restore
from oldmemfs.filter.memmap import memory_map
from oldmemfs.maps.pagemask import PageMask
from oldmemfs.ranges import Range

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from support.crash import Crash

MIB, GIB = 1 << 20, 1 << 30
ROOMY = X86_64.but("roomy", ram=((0, 640 * MIB),), image_phys=16 * MIB)
Parts = dict[str, tuple[int, int]]


def needed(crash: Crash) -> tuple[PageMask, Essentials]:
    """All its pages, and what it cannot be without."""
    kept = PageMask([Range(a // PAGE, b // PAGE) for a, b in crash.ranges], 12)
    kernel = crash.kernel()
    return kept, Essentials(kernel, memory_map(kernel), kept)


def test_page_tables_symbols_and_struct_pages() -> None:
    """Each to the byte: a page's worth of root, a byte of each symbol, all struct pages."""
    crash = dead(X86_64, {})
    crash.symbol("elsewhere", X86_64.linear + 0x12345)
    crash.symbol("nowhere", 0xFFFFFFFFF0000000)  # not mapped
    found = list(needed(crash)[1])
    root = X86_64.image_phys + 0x100000
    assert Essential("page tables", Range(root, root + PAGE)) in found
    assert Essential("SYMBOL(elsewhere)", Range(0x12345, 0x12346)) in found
    assert not any(must.name == "SYMBOL(nowhere)" for must in found)
    (array,) = (must.bytes for must in found if must.name == "struct pages")
    assert array == Range(crash.struct_phys(0), crash.struct_phys(0) + 0x20000 * 64)


def test_struct_pages_near_memory_alone() -> None:
    """Two pieces of memory, far apart: the struct pages of each, and of up to 511 pages beside."""
    crash = dead(X86_64, {})
    kernel = crash.kernel()
    kept = PageMask([Range(0x210, 0x215), Range(0x9000, 0x9200)], 12)
    musts = Essentials(kernel, memory_map(kernel), kept)
    found = [must.bytes for must in musts if must.name == "struct pages"]
    base = crash.struct_phys(0)
    assert found == [
        Range(base + 0x200 * 64, base + 0x400 * 64), Range(base + 0x9000 * 64, base + 0x9200 * 64)
    ]  # fmt: skip


def test_each_page_of_the_root_alone() -> None:
    """The page of page tables is kept, its neighbours are not put back."""
    root = (X86_64.image_phys + 0x100000) // PAGE
    crash = dead(X86_64, dict.fromkeys((root - 1, root, root + 1), ANON))
    found = run(crash)
    assert [pfn in found.classes.kept for pfn in (root - 1, root, root + 1)] == [False, True, False]
    assert f"at {root * PAGE:#x}; they are kept" in found.restored[0]


def optimised(gib: int) -> Crash:
    """Huge pages almost everywhere, whose struct pages are one page that is mapped eight times."""
    heads = range(3 * GIB // PAGE, gib * GIB // PAGE, 512)
    return dead(ROOMY.but("big", ram=((0, gib * GIB),)), {}, hvo=heads)


class Watched(PageMask):
    """Notes how many must-haves were looked up between two checks."""

    looked_up = checked = most = checks = 0

    def counted(self, musts: Iterable[Essential]) -> Iterator[Essential]:
        for must in musts:
            self.looked_up += 1
            yield must

    def restore(self, pages: Range, but: Sequence[Range] = ()) -> list[Range]:
        self.most = max(self.most, self.looked_up - self.checked)
        self.checked = self.looked_up
        self.checks += 1
        return super().restore(pages, but)


@pytest.mark.parametrize("gib", [4, 12])
def test_optimised_vmemmap_costs_no_memory(gib: int) -> None:
    """Hugetlb's vmemmap optimisation: 4,096 places for each GiB, never many at once."""
    crash = optimised(gib)
    kernel = crash.kernel()
    kept = Watched([Range(0, gib * GIB // PAGE)], 12)
    musts = Essentials(kernel, memory_map(kernel), kept)
    tracemalloc.start()
    checked = restore(kept, (), kept.counted(musts))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not checked.restored
    assert not checked.outside
    assert kept.looked_up > (gib - 3) * 512
    assert kept.most <= 4097
    assert kept.looked_up < (gib - 3) * 512 * 3  # each place once, though it is mapped eight times
    assert peak < 4 * MIB, f"{peak:#x} bytes for {kept.looked_up} places"


def test_struct_pages_of_huge_pages_are_put_back() -> None:
    """The one page that all tails share is excluded as a user's: put back once, said once."""
    tails = {0x10000 + i: {"compound_head": 1} for i in range(1, 64)}
    marks: dict[int, Mapping[str, int]] = {0x10000: {"flags": HEAD}, **tails}
    own = dead(X86_64, marks, hvo=(0x10000,)).struct_phys(0x10000) // PAGE
    found = run(dead(X86_64, {**marks, own: ANON}, hvo=(0x10000,)))
    assert own in found.classes.kept
    assert found.restored == (
        f"struct pages: 1 pages had been excluded, first at {own * PAGE:#x}; they are kept",
    )


def ring(crash: Crash, size_bits: int, count_bits: int) -> Parts:
    """A lockless ring with nothing in it; where its parts lie, as (phys, size)."""
    sizes = {
        "prb": 96,
        "descs": 24 << count_bits,
        "infos": 88 << count_bits,
        "text": 1 << size_bits,
    }
    parts = {name: (crash.ram.allocate(size, PAGE), size) for name, size in sizes.items()}
    virt = {name: crash.machine.linear + phys for name, (phys, _) in parts.items()}
    words = (count_bits, virt["descs"], virt["infos"], 0, 0, 0, size_bits, virt["text"], 0, 0)
    crash.ram.write(parts["prb"][0], struct.pack("<10Q", *words))
    crash.symbol("prb", crash.cell(virt["prb"]))
    offsets = {
        "printk_ringbuffer.desc_ring": 0, "printk_ringbuffer.text_data_ring": 48,
        "prb_desc_ring.count_bits": 0, "prb_desc_ring.descs": 8, "prb_desc_ring.infos": 16,
        "prb_desc_ring.head_id": 24, "prb_desc_ring.tail_id": 32, "prb_desc.state_var": 0,
        "prb_desc.text_blk_lpos": 8, "prb_data_blk_lpos.begin": 0, "prb_data_blk_lpos.next": 8,
        "printk_info.seq": 0, "printk_info.ts_nsec": 8, "printk_info.text_len": 16,
        "printk_info.caller_id": 20, "prb_data_ring.size_bits": 0, "prb_data_ring.data": 8,
        "atomic_long_t.counter": 0,
    }  # fmt: skip
    crash.lines |= {f"OFFSET({key})": str(value) for key, value in offsets.items()}
    crash.lines |= {"SIZE(prb_desc)": "24", "SIZE(printk_info)": "88"}
    return parts


def record_buffer(crash: Crash, size: int) -> Parts:
    """A record buffer (3.5 .. 5.9) with nothing in it."""
    phys = crash.ram.allocate(size, PAGE)
    crash.symbol("log_buf", crash.cell(crash.machine.linear + phys))
    crash.symbol("log_buf_len", crash.cell(size, 4))
    for name in ("log_first_idx", "log_next_idx"):
        crash.symbol(name, crash.cell(0, 4))
    offsets = {"ts_nsec": 0, "len": 8, "text_len": 10, "dict_len": 12}
    crash.lines |= {f"OFFSET(printk_log.{key})": str(value) for key, value in offsets.items()}
    crash.lines["SIZE(printk_log)"] = "16"
    return {"buffer": (phys, size)}


def text_ring(crash: Crash, size: int) -> Parts:
    """A ring of text (before 3.5)."""
    phys = crash.ram.allocate(size, PAGE)
    crash.symbol("log_buf", crash.cell(crash.machine.linear + phys))
    for name, value in (("log_buf_len", size), ("log_end", 0), ("logged_chars", 0)):
        crash.symbol(name, crash.cell(value, 4))
    return {"ring": (phys, size)}


def logs(
    marks: Mapping[int, Mapping[str, int]],
) -> Iterator[tuple[Crash, dict[str, tuple[int, int]]]]:
    """Kernels with a log of more than 16 MiB, of each generation."""
    crash = dead(ROOMY, marks)
    yield crash, ring(crash, 25, 20)  # log_buf_len=32M
    crash = dead(ROOMY, marks)
    yield crash, record_buffer(crash, 32 * MIB)
    crash = dead(ROOMY, marks)
    yield crash, text_ring(crash, 300 * MIB)


@pytest.mark.parametrize("generation", range(3), ids=["lockless", "records", "text"])
def test_a_large_log_is_put_back(generation: int) -> None:
    """Its first and last page, of each part, excluded as a user's: put back."""
    parts = list(logs({}))[generation][1]
    marks = {pfn: ANON for phys, size in parts.values() for pfn in (
        phys // PAGE, (phys + size - 1) // PAGE)}  # fmt: skip
    crash = list(logs(marks))[generation][0]
    found = run(crash)
    assert found.classes.counts[Class.USER] == len(marks)
    assert all(pfn in found.classes.kept for pfn in marks)
    first = min(phys for phys, _ in parts.values())
    assert found.restored == (
        f"log: {len(marks)} pages had been excluded, first at {first:#x}; they are kept",
    )
    assert not [line for line in found.doubts if "log" in line and line not in found.restored]


def test_a_log_larger_than_memory() -> None:
    """Page tables may repeat a page without end; a log as large as memory is looked up."""
    crash = dead(X86_64, {})
    parts = ring(crash, 25, 10)
    crash.ram.write(parts["prb"][0] + 48, struct.pack("<Q", 30))
    (line,) = run(crash).doubts
    text = crash.machine.linear + parts["text"][0]
    assert line == (
        "could not check that the whole log was kept: a log of 0x40000000 bytes in 0x20000000 of "
        f"memory (at {text:#x})"
    )
    crash.ram.write(parts["prb"][0] + 48, struct.pack("<Q", 29))
    assert not run(crash).doubts


def test_a_log_without_its_keys() -> None:
    crash = dead(X86_64, {})
    ring(crash, 25, 10)
    del crash.lines["SIZE(prb_desc)"]
    (line,) = run(crash).doubts
    assert line == ("could not check that the whole log was kept: VMCOREINFO has no SIZE(prb_desc)")


def test_many_are_merged() -> None:
    """Thousands of places that touch or repeat, more than are looked at at once: one line."""
    kept = Watched([Range(0, 1 << 18)], 12)
    kept.clear(Range(5, 100000))
    twice = (p * PAGE for p in range(100010) for _ in range(2))
    places = [Essential("array", Range(phys, phys + 1)) for phys in twice]
    beside = Essential("beside", Range(0, 1 << 31)), Essential("further", Range(1 << 40, 1 << 41))
    found = restore(kept, (), [*places, *beside])
    assert found.restored == [
        "array: 99995 pages had been excluded, first at 0x5000; they are kept"
    ]
    (line,) = found.outside
    assert line == "in no PT_LOAD, so readers of the dump will not find them: beside, further"
    assert kept.count() == 1 << 18
    assert kept.checks <= 2 * -(-200020 // 4096) + (1 << 19 >> 16) + (1 << 28 >> 16)
