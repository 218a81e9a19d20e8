# SPDX-License-Identifier: MIT
"""Whole dead kernels, filtered: every machine, doubts, must-haves, and scans that are ended."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.crash import Crash, Model
from support.crash_arch import RISCV64, X86_64
from support.crash_arch_more import MACHINES
from support.crash_elf import note
from support.marked import ANON, HEAD, LRU, PAGE, PLAIN, dead, run

from oldmemfs.elf.header import parse_header
from oldmemfs.errors import FormatError, OldmemError
from oldmemfs.filter import sections as cut
from oldmemfs.filter.classes import Class, Classes, Watch, classify
from oldmemfs.filter.essential import Essential, restore
from oldmemfs.filter.filtered import filtered
from oldmemfs.filter.memmap import memory_map
from oldmemfs.filter.rules import Rules
from oldmemfs.filter.sections import sections
from oldmemfs.kernel.kernel import Kernel
from oldmemfs.maps.pagemask import PageMask
from oldmemfs.maps.plan import Plan
from oldmemfs.maps.sizes import human
from oldmemfs.options import Options
from oldmemfs.ranges import Range
from oldmemfs.sources.build import from_blob

if TYPE_CHECKING:
    from support.crash_arch import Machine


SECRET, KERNEL = b"a user's own words", b"the kernel's own words"


def scan(crash: Crash, level: int = 30) -> Classes:
    """The classes alone."""
    kernel = crash.kernel()
    rules = Rules.from_vmcoreinfo(
        kernel.info, kernel.word, big_endian=kernel.big_endian, huge_orders=kernel.arch.huge_orders
    )
    loads = [Range(*r) for r in crash.ranges]
    return classify(kernel.memory, loads, sections(kernel, memory_map(kernel)), rules, level)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.name)
def test_no_byte_of_a_user(machine: Machine) -> None:
    """Pages with a user's words among the kernel's: none of them in the file, all of these."""
    end = machine.ram[-1][1] >> machine.page_shift
    users, kernels = (end - 40, end - 9), (end - 41, end - 8)
    model = Model.VMEMMAP if machine.word == 8 else Model.EXTREME
    crash = dead(machine, dict.fromkeys(users, ANON), model=model)
    for words, pfns in ((SECRET, users), (KERNEL, kernels)):
        for pfn in pfns:
            crash.ram.write(pfn << machine.page_shift, words)
    found = run(crash)
    assert not found.doubts
    assert found.classes.counts[Class.USER] == 2
    plan = Plan(found.core.layout, crash.memory)
    data = b"".join(plan.table.read(at, 1 << 20)[0] for at in range(0, plan.size, 1 << 20))
    assert SECRET not in data
    for phdr in found.core.header.loads:
        for pfn in kernels:
            phys = pfn << machine.page_shift
            if phdr.filesz and phdr.paddr <= phys < phdr.paddr + phdr.filesz:
                at = phdr.offset + phys - phdr.paddr
                assert data[at : at + len(KERNEL)] == KERNEL
                break
    assert data.count(KERNEL) == 2


@pytest.mark.parametrize("model", [Model.FLAT, Model.DISCONTIG, Model.CLASSIC, Model.EXTREME])
def test_every_memory_model(model: Model) -> None:
    crash = dead(X86_64, {0x10000: ANON, 0x10001: ANON}, model=model)
    found = scan(crash)
    assert found.counts[Class.USER] == 2
    assert 0x10001 not in found.kept


def test_shared_struct_pages_of_huge_pages() -> None:
    """HVO: seven of eight pages of struct pages are the head's own page; one head is dropped."""
    tails = {0x10000 + i: {"compound_head": 1} for i in range(1, 64)}
    crash = dead(X86_64, {0x10000: {"flags": HEAD}, **tails}, hvo=(0x10000,))
    at = crash.struct_phys(0x10001)
    crash.ram.write(at + 16, bytes((2, 0, 0, 0, 9)))  # the destructor, and the order
    found = scan(crash)
    assert found.counts[Class.USER] == 512
    assert not any(p in found.kept for p in range(0x10000, 0x10200))
    assert 0x10200 in found.kept


def test_struct_pages_that_cannot_be_read_keep_their_pages() -> None:
    crash = dead(X86_64, dict.fromkeys(range(0x10000, 0x10400), ANON), small=True)
    blob = crash.elfcorehdr()
    at = crash.struct_phys(0x10100)
    crash.ram.runs[:] = [
        part for run_ in crash.ram.runs
        for part in (run_.part(run_.phys, at), run_.part(at + PAGE, run_.end))
    ]  # fmt: skip
    found = run(crash, 30, blob=blob)
    assert found.classes.counts[Class.NO_STRUCT] == PAGE // 64
    assert all(p in found.classes.kept for p in range(0x10100, 0x10140))
    assert 0x100FF not in found.classes.kept
    assert "64 pages are kept: their struct page cannot be read" in found.doubts


def test_the_report_has_nothing_that_a_terminal_obeys() -> None:
    """The names of symbols that are put back come from the dead kernel."""
    crash = dead(X86_64, {0x10000: ANON})
    crash.lines["SYMBOL(\x1b]0;owned\x07)"] = f"{X86_64.linear + 0x10000 * PAGE:x}"
    found = run(crash)
    (line,) = found.restored
    assert "\x1b" in line
    assert "SYMBOL(\\x1b]0;owned\\x07): 1 pages had been excluded" in found.report()
    assert found.report().replace("\n", "").isprintable()


class Reserved(Crash):
    """A riscv64 kernel whose loader left out what was reserved early: its page tables are there."""

    @property
    def loads(self) -> tuple[tuple[int, int, int], ...]:
        image, (virt, phys, size) = super().loads
        half = size // 2
        return image, (virt + half, phys + half, half)


def test_what_is_in_no_load_is_read_from_the_image() -> None:
    crash = Reserved(RISCV64[2], pages={0x98000: ANON}, fill=PLAIN, lines={"NUMBER(PG_lru)": "4"})
    blob = crash.elfcorehdr()
    dump = from_blob(
        parse_header(lambda at, size: blob[at : at + size], 0, "it"), crash.memory, Options(),
        source="it", origin="it", page_size=None, release=None, known=crash.memory.ranges,
    )  # fmt: skip
    alone = Kernel.from_vmcoreinfo(
        dump.memory, dump.vmcoreinfo, crash.machine.e_machine, False, crash.loads
    )
    assert alone.space.paging is None  # image and linear map still can be read
    with pytest.raises(FormatError, match="cannot be read"):
        memory_map(alone)
    assert memory_map(dump.kernel) == crash.maps
    found = filtered(dump.kernel, dump.header, dump.notes, 30)
    assert found.classes.counts[Class.USER] + found.classes.counts[Class.CACHE] == 1
    assert 0x98000 not in found.classes.kept
    assert found.doubts[-1].startswith("in no PT_LOAD, so readers of the dump will not find them: ")
    crash.lines["SYMBOL(swapper_pg_dir)"] = "ffffffff80000000"
    del crash.lines["NUMBER(KERNEL_LINK_ADDR)"]
    wrong = replace(dump, notes=note(b"VMCOREINFO\0", 0, crash.text, "<"))
    with pytest.raises(FormatError, match="do not map themselves with any known offset"):
        _ = wrong.kernel


def test_batches_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    crash = dead(X86_64, dict.fromkeys(range(0x7F00, 0x18100, 3), ANON))
    whole = scan(crash)
    monkeypatch.setattr(cut, "_BATCH", 1)
    parts = scan(crash)
    assert parts.kept.bits == whole.kept.bits
    assert parts.counts == whole.counts


def test_a_block_does_not_reach_over_the_start_of_a_section() -> None:
    """Its pages are gone, but the next section is looked at from its first page on."""
    free = {"_mapcount": -129, "private": 10}
    crash = dead(X86_64, {0x7FF0: free, 0x8001: ANON, 0x8000: {"flags": LRU}, 0x83F0: ANON})
    found = scan(crash, 24)
    assert found.counts[Class.FREE] == 1024
    assert not any(p in found.kept for p in range(0x7FF0, 0x83F1))
    assert found.counts[Class.USER] == 1  # 0x83f0; 0x8001 was gone with the block


def test_what_must_be_there_is_put_back() -> None:
    """The kernel's own memory map, marked as a user's: kept all the same, and said."""
    crash = dead(X86_64, {})
    first = crash.struct_phys(0) >> 12
    crash = dead(X86_64, dict.fromkeys(range(first, first + 8), ANON))
    found = run(crash)
    assert all(p in found.classes.kept for p in range(first, first + 8))
    (line,) = found.doubts
    assert line.startswith("struct pages: 8 pages had been excluded, first at ")


def test_offline_memory_is_kept_and_told() -> None:
    """As makedumpfile keeps it: what a user had there is in it."""
    crash = dead(X86_64, {0x8000: ANON, 0x8001: ANON, 0x20: ANON})
    array = crash.kernel().u(int(crash.lines["SYMBOL(mem_section)"], 16))
    mark = crash.kernel().u(array + 16, 1)
    crash.ram.write(array + 16 - X86_64.linear, bytes((mark & ~4,)))
    found = run(crash, 30)
    assert found.classes.counts[Class.USER] == 3
    (line,) = found.doubts
    assert line == (
        "32766 pages are kept: their memory was offline at the crash; it still holds old "
        "content, also of user pages"
    )


def test_zeros_need_not_be_put_back() -> None:
    kept = PageMask([Range(0, 8)], 12)
    kept.bits[0] = 0b11000011
    found = restore(kept, [Range(3, 4)], [Essential("log", Range(0x2FFF, 0x5001))])
    assert kept.bits[0] == 0b11110111
    assert found.restored == ["log: 3 pages had been excluded, first at 0x2000; they are kept"]


def test_cancelled() -> None:
    crash = dead(X86_64, {})
    watch = Watch()
    watch.cancel()
    with pytest.raises(OldmemError, match="cancelled"):
        run(crash, watch=watch)


def test_watched_from_another_thread() -> None:
    crash = dead(X86_64, {})
    watch = Watch()
    thread = threading.Thread(target=run, args=(crash, 31, watch))
    thread.start()
    thread.join()
    assert watch.done == watch.total == 2 * 0x20000


def test_a_memory_map_that_is_not_understood_is_an_error() -> None:
    crash = dead(X86_64, {})
    crash.lines["SYMBOL(mem_section)"] = f"{X86_64.linear + 0x700000:x}"
    with pytest.raises(FormatError):
        run(crash)


def test_report_has_makedumpfiles_lines() -> None:
    crash = dead(X86_64, {0x10000: ANON, 0x10001: {"flags": LRU}, 0x10002: {
        "flags": LRU | 1 << 13}, 0x10003: {"_mapcount": -129, "private": 11}})  # fmt: skip
    found = run(crash)
    lines = found.report().splitlines()
    hexadecimal = [line[: line.index("0x") + 18] for line in lines[:10]]
    assert hexadecimal[0] == "Original pages  : 0x0000000000020000"
    assert hexadecimal[3:7] == [
        "    Non-private cache pages : 0x0000000000000001",
        "    Private cache pages     : 0x0000000000000001",
        "    User process data pages : 0x0000000000000001",
        "    Free pages              : 0x0000000000000000",
    ]
    for line in lines[:10]:  # the same for people, behind makedumpfile's
        number, decimal, people = line.split(": ")[1].split(maxsplit=2)
        assert int(number, 16) == int(decimal)
        assert people == human(int(decimal) << 12)
    size = found.core.layout.size
    assert f"File size       : {size} ({human(size)})" in lines
    assert lines[-1] == (
        "Doubt           : 1 pages are kept: they are marked free, but with an invalid order"
    )
