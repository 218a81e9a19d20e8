# SPDX-License-Identifier: MIT
"""Damage, and what must hold of everything that reads it: an answer, or an ``OldmemError``.

One check for each entry point; its bytes say what is broken, so that hypothesis and a fuzzer draw
from the same well. ``test_hostile.py`` and ``fuzz.py`` call them.
"""

from __future__ import annotations

import contextlib
import os
from functools import cache
from typing import TYPE_CHECKING

from oldmemfs import views
from oldmemfs.elf.header import parse_header
from oldmemfs.elf.notes import notes, vmcoreinfo_text
from oldmemfs.errors import OldmemError
from oldmemfs.filter.filtered import filtered
from oldmemfs.filter.rules import Rules
from oldmemfs.kernel.arch import x86_64
from oldmemfs.kernel.vmcoreinfo import Vmcoreinfo
from oldmemfs.maps.memory import Memory, Run
from oldmemfs.maps.plan import Plan
from oldmemfs.options import Options
from oldmemfs.sources import elf
from oldmemfs.sources.build import from_blob
from oldmemfs.views.catalog import Catalog, LiveView
from oldmemfs.views.unreadable import BadPages
from support import image
from support.crash import Crash, Model
from support.crash_arch import X86_64, X86_64_5
from support.crash_arch_more import I386
from support.crash_lists import Lists

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oldmemfs.dump import Dump

PAGE = 4096
NUMBERS = (
    "0", "1", "-1", "3", "12", "63", "64", "65", "255", "4096", "7fffffffffffffff", "-2147483648",
    "8000000000000000", "9223372036854775808", "18446744073709551615", "0xffffffff", "", "x" * 99,
)  # fmt: skip
KERNELS = (
    (X86_64, Model.VMEMMAP), (X86_64_5, Model.EXTREME), (X86_64, Model.CLASSIC),
    (X86_64, Model.FLAT), (X86_64_5, Model.DISCONTIG), (I386[0], Model.FLAT),
)  # fmt: skip
KEYS = {
    "NUMBER(PG_lru)": "5", "NUMBER(PG_private)": "13", "NUMBER(PG_swapcache)": "10",
    "NUMBER(PG_slab)": "9", "NUMBER(PG_hwpoison)": "22", "NUMBER(PG_head_mask)": "65536",
    "NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)": "-129", "NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)": "-257",
    "NUMBER(HUGETLB_PAGE_DTOR)": "2", "OFFSET(page.compound_dtor)": "16",
    "OFFSET(page.compound_order)": "17", "NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)": "-2049",
    "NUMBER(PG_hugetlb)": "8", "NUMBER(PG_swapbacked)": "19", "OFFSET(folio._folio_order)": "65",
    "NUMBER(SECTION_SIZE_BITS)": "27", "NUMBER(MAX_PHYSMEM_BITS)": "46",
    "NUMBER(PAGE_UNACCEPTED_MAPCOUNT_VALUE)": "-4097",
}  # fmt: skip
CORE = image.Blob(
    [image.Segment(image.NOTE, 0x200, 368), image.Segment(image.LOAD, 0x1000, 0x1000)]
).pack().ljust(0x200, b"\0") + image.cpu_note().ljust(0x1E00, b"\0")  # fmt: skip


class ByteSource:
    """Bytes, read as numbers; zeros when they are used up."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def bytes(self, size: int) -> bytes:
        part = self._data[self._at : self._at + size]
        self._at += size
        return part.ljust(size, b"\0")

    def number(self, below: int) -> int:
        return int.from_bytes(self.bytes((below.bit_length() + 7) // 8), "little") % below


@cache
def kernel(which: int) -> tuple[Crash, tuple[int, ...]]:
    """A small whole kernel, and the places in its memory that are worth to be hit."""
    machine, model = KERNELS[which]
    if machine.word == 8:
        start = machine.image_phys
        crash = Crash(machine, model, ram=((start, start + (24 << 20)),))
    else:
        crash = Crash(machine, model)
    tables = list(crash.tables._tables)
    first = crash.maps[0]
    places = [*tables, crash.struct_phys(first.pfn), machine.image_phys + 0x10000]
    with contextlib.suppress(KeyError):
        places.append(int(crash.lines["SYMBOL(mem_section)"], 16) - machine.linear)
    if model is Model.FLAT:
        lists = Lists(crash)
        lists.chain(0, 0, [first.end - 7, first.end - 3])
        lists.chain(1, 1, [first.end - 6, first.end - 2])
        places += [lists.zone - machine.linear, crash.struct_phys(first.end - 7)]
    fits = [p for p in places if any(a <= p < b - PAGE for a, b in crash.ranges)]
    return crash, tuple(fits)


@contextlib.contextmanager
def wrecked(crash: Crash, places: tuple[int, ...], blows: ByteSource) -> Iterator[None]:
    """The kernel with its memory and its VMCOREINFO damaged, put right again behind it."""
    lines = dict(crash.lines)
    undo: list[tuple[int, bytes]] = []
    crash.lines = {**KEYS, **lines}
    keys = list(crash.lines)
    while blows:
        kind = blows.number(8)
        if kind < 3:
            key = keys[blows.number(len(keys))]
            value = NUMBERS[blows.number(len(NUMBERS))]
            crash.lines[key] = value if kind else str(blows.number(1 << 64) - (1 << 63))
        elif kind == 3:
            crash.lines.pop(keys[blows.number(len(keys))], None)
        else:
            at = places[blows.number(len(places))] + blows.number(512) * 8 % (PAGE - 16)
            new = blows.bytes(8)
            if kind == 7:  # an entry of a table that leads to another one, or to itself
                entry = places[blows.number(len(places))] | crash.machine.table(0, 21)
                new = entry.to_bytes(8, crash.order)
            undo.append((at, crash.memory.read(at, 8)))
            crash.ram.write(at, new)
    try:
        yield
    finally:
        crash.lines = lines
        for at, old in reversed(undo):
            crash.ram.write(at, old)


def check_kernel(which: int, level: int, wreck: bytes) -> bool:
    """A kernel that lies: a file whose sizes are true, or one of our own errors."""
    crash, places = kernel(which % len(KERNELS))
    segments = [image.Segment(image.LOAD, a, b - a, vaddr=1 << 63) for a, b in crash.ranges]
    blob = image.Blob(segments, machine=crash.machine.e_machine).pack()
    header = parse_header(lambda at, size: blob[at : at + size], 0, "a fuzzer")
    with wrecked(crash, places, ByteSource(wreck)):
        try:
            made = filtered(crash.kernel(), header, image.cpu_note(), level % 32)
        except OldmemError:
            return False
        assert made.report()
        core, kept = made.core, made.classes.kept
        plan = Plan(core.layout, crash.memory)
        assert plan.size == core.layout.size
        assert kept.count() <= kept.pages <= sum(-(-(b - a) // PAGE) for a, b in crash.ranges)
        for p in core.header.loads:
            assert p.filesz in (0, p.memsz)
            assert p.offset + p.filesz <= plan.size
            data, faults = plan.table.read(p.offset, min(p.filesz, 1 << 16))
            assert not faults
            for at in range(0, len(data) & -PAGE, PAGE):
                pfn = (p.paddr + at) // PAGE
                want = crash.memory.read(pfn * PAGE, PAGE) if pfn in kept else bytes(PAGE)
                assert data[at : at + PAGE] == want
    return True


def check_header(wreck: bytes) -> bool:
    """A header blob in memory that is damaged here and there, through every view."""
    blows = ByteSource(wreck)
    start = image.crashed([image.Segment(image.LOAD, 0x10000, 0x5000, vaddr=1 << 63)], 1 << 17)
    while blows:
        at = (image.HEADER, image.HEADER, image.NOTES, image.NOTES + 0x800)[blows.number(4)]
        at += blows.number(0x200)
        start.put(at, blows.bytes(1 + blows.number(8)))
    fd = os.memfd_create("hostile")
    try:
        os.write(fd, start.data)
        memory = Memory((Run(0, len(start.data), fd, 0),))
        try:
            header = parse_header(memory.read, image.HEADER, "a fuzzer")
            dump = from_blob(
                header, memory, Options(), source="here", origin="there", page_size=None,
                release=None, known=memory.ranges,
            )  # fmt: skip
        except OldmemError:
            return False
        _look(dump)
    finally:
        os.close(fd)
    return True


def _look(dump: Dump) -> None:
    """Every view: its text, or its plan and the first and last bytes."""
    catalog = Catalog(dump, views.make_views(dump, Options()), BadPages())
    assert len(catalog.views) < 40000
    for view in catalog.views[:64]:
        try:
            if isinstance(view, LiveView):
                text = view.text(catalog)
                assert "".join(text.split()).isprintable(), text  # white space stands, as in dmesg
                continue
            plan = Plan(view.layout(dump), view.memory(dump))
        except OldmemError:
            continue
        assert len(plan.table.read(0, 1 << 16)[0]) == min(plan.size, 1 << 16)
        assert len(plan.table.read(max(plan.size - 9, 0), 99)[0]) == min(plan.size, 9)


def check_core(data: bytes) -> bool:
    """An ELF core file."""
    fd = os.memfd_create("core")
    try:
        os.write(fd, data)
        try:
            dump = elf.open(f"/proc/self/fd/{fd}", Options())
        except OldmemError:
            return False
        opened = {run.fd for run in (*dump.present.runs, *dump.memory.runs)} - {-1}
        try:
            _look(dump)
        finally:
            for each in opened:
                os.close(each)
    finally:
        os.close(fd)
    return True


def check_text(text: bytes) -> None:
    """VMCOREINFO, and the rules for pages that are made of it."""
    info = Vmcoreinfo.parse(text)
    for key in info.values:
        name = key[key.find("(") + 1 : -1]
        numbers = (info.symbol(name), info.offset(name), info.size_of(name), info.length(name))
        assert all(n is None or 0 <= n < 1 << 64 for n in numbers)
        assert -(1 << 63) <= (info.number(name) or 0) < 1 << 64
    assert all(0 <= n < 10**9 for n in info.version)
    assert info.page_size in (None, *(1 << n for n in range(12, 19)))
    with contextlib.suppress(OldmemError):
        rules = Rules.from_vmcoreinfo(
            info, 8, big_endian=False, huge_orders=x86_64.ARCH.huge_orders
        )
        assert 0 <= rules.flags < rules.size <= PAGE


def check_notes(data: bytes, big_endian: bool) -> None:
    """ELF notes lie one behind the other, inside of what there is."""
    end = 0
    for note in notes(data, big_endian):
        assert note.offset == end < note.end <= len(data)
        assert len(note.desc) <= note.end - note.offset
        end = note.end
    assert vmcoreinfo_text(data, big_endian) in data
