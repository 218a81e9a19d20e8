# SPDX-License-Identifier: MIT
"""The crash of the demo: a whole synthetic kernel with a log, registers and pages of every kind.

``DemoCrash`` builds it and knows which page is of which kind; ``demo_check`` holds what a mount
gave out against that. Nothing here depends on time or chance: the image is always the same.
"""

from __future__ import annotations

import hashlib
import os
import struct
from enum import Enum
from typing import TYPE_CHECKING

from support import demo_log, rings
from support.crash import Crash
from support.crash_arch import X86_64
from support.crash_elf import prstatus
from support.marked import HEAD, LRU, PAGE, PLAIN, page_keys
from support.space import Space

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
SIZE = 64 * MIB
OWN = 24 * MIB  # below: what the builder writes (page tables, struct pages, log) and slab
CRASH_TIME = 1_740_830_400  # 2025-03-01 12:00:00 UTC
_IMAGE = 8 * MIB
_KEYS = page_keys("6.12", 8)
MACHINE = X86_64.but(
    "demo",
    {
        "NUMBER(phys_base)": str(_IMAGE - 0x1B200000),
        "BUILD-ID": hashlib.sha1(demo_log.RELEASE.encode()).hexdigest(),
        "CRASHTIME": str(CRASH_TIME),
    },
    ram=((0, SIZE),),
    image_phys=_IMAGE,
    release=demo_log.RELEASE,
)
# The order of user_regs_struct of x86_64, which the kernel copies into the note.
REGISTERS = (
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi",
    "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs",
    "gs",
)  # fmt: skip


class Kind(Enum):
    """What a page was to the kernel: how makedumpfile calls what it leaves out."""

    KERNEL = "kept"
    CACHE = "Non-private cache pages"
    CACHE_PRIVATE = "Private cache pages"
    USER = "User process data pages"
    FREE = "Free pages"
    HWPOISON = "Hwpoison pages"
    OFFLINE = "Offline pages"


def _number(key: str) -> int:
    return int(_KEYS[f"NUMBER({key})"])


def _type(name: str) -> int:
    return _number(f"PAGE_{name}_MAPCOUNT_VALUE")


_MAPPING = 0xFFFF8ED140001000  # a struct address_space; with bit 0 an anon_vma
_BACKED = 1 << _number("PG_swapbacked")
_SLAB = {"_mapcount": _type("SLAB")}
_ANON = {"flags": LRU | _BACKED, "mapping": _MAPPING | 1}
_CACHE = {"flags": LRU, "mapping": _MAPPING}
_PRIVATE = {"flags": LRU | 1 << _number("PG_private"), "mapping": _MAPPING}
_POISON = {**PLAIN, "flags": 1 << _number("PG_hwpoison")}
_OFFLINE = {"_mapcount": _type("OFFLINE")}
_HUGE = {"flags": HEAD, "_mapcount": _type("HUGETLB")}
Marks = dict[int, dict[str, int]]


class DemoCrash:
    """Two CPUs and 64 MiB; ``kinds`` says what each page is."""

    def __init__(self) -> None:
        self.kinds = [Kind.KERNEL] * (SIZE // PAGE)
        marks = self._marks()
        crash = Crash(MACHINE, lines=_KEYS, pages=marks, fill=PLAIN)
        self.memory = crash.memory
        self._fill(crash)
        self._log(crash)
        # Real kernels have it in their symbol table only; VMCOREINFO is asked first.
        crash.symbol("tainted_mask", crash.cell(1 << 12 | 1 << 7))
        idle = {"rip": MACHINE.image + 0x1234, "rsp": MACHINE.linear + 0x5000, "cs": 0x10}
        died = {"rip": 0xFFFFFFFFC0201012, "rsp": MACHINE.linear + 0x9E00, "cs": 0x10}
        self.pids = (0, demo_log.PID)
        self.registers = tuple(
            dict.fromkeys(REGISTERS, 0) | {"eflags": 0x10046, "ss": 0x18} | known
            for known in (idle, died)
        )
        blob = crash.elfcorehdr(statuses=[
            prstatus(pid, "<", struct.pack("<27Q", *registers.values()))
            for pid, registers in zip(self.pids, self.registers, strict=True)
        ])  # fmt: skip
        self.header = crash.ram.allocate(len(blob), PAGE)
        crash.ram.write(self.header, blob)
        assert crash.ram.allocate(1, PAGE) < OWN, "the builder's data reach into the other pages"

    def _marks(self) -> Marks:
        """Lay out the memory above ``OWN``, and slab at its beginning."""
        marks: Marks = {}
        place = Place(self.kinds, marks)
        place.pages(0, 4, Kind.KERNEL, _SLAB)
        place.free(24, order=10)
        place.free(28, order=9)
        place.pages(30, 42, Kind.CACHE, _CACHE)
        place.pages(42, 44, Kind.CACHE_PRIVATE, _PRIVATE)
        place.pages(44, 54, Kind.USER, _ANON)
        place.huge(54)
        kinds = ((Kind.KERNEL, _SLAB), (Kind.USER, _ANON), (Kind.CACHE, _CACHE))
        for pfn in range(56 * MIB // PAGE, 58 * MIB // PAGE):  # page by page: holes are short
            place.page(pfn, *kinds[pfn % 3])
        place.pages(58, 60, Kind.KERNEL, _SLAB)
        place.pages(60, 63, Kind.USER, _ANON)
        for pfn in range(63 * MIB // PAGE, 63 * MIB // PAGE + 24):
            offline = pfn % 8 >= 2
            place.page(pfn, *((Kind.OFFLINE, _OFFLINE) if offline else (Kind.HWPOISON, _POISON)))
        return marks

    def _fill(self, crash: Crash) -> None:
        """Give pages words of their own: all above ``OWN``, slab, and the kernel's text."""
        text = range(_IMAGE // PAGE + 512, _IMAGE // PAGE + 896)
        for pfn in (*range(4 * MIB // PAGE), *text, *range(OWN // PAGE, SIZE // PAGE)):
            crash.ram.write(pfn * PAGE, hashlib.shake_128(b"page %d" % pfn).digest(PAGE))

    def _log(self, crash: Crash) -> None:
        space = Space()
        size_bits, count_bits = 14, 9
        start = crash.ram.allocate(rings.DATA - rings.ROOT + (1 << size_bits), PAGE)
        keys, standing = rings.lockless(
            space, demo_log.MESSAGES, size_bits=size_bits, count_bits=count_bits,
            root=MACHINE.linear + start,
        )  # fmt: skip
        assert standing == demo_log.MESSAGES, "the ring is too small for the log"
        for virt, data in space.regions.items():
            crash.ram.write(virt - MACHINE.linear, bytes(data))
        crash.lines |= {k: v for k, v in keys.values.items() if k not in crash.lines}

    def save(self, path: Path) -> None:
        """The memory as an image, sparse where it is zero."""
        with path.open("wb") as out:
            os.fchmod(out.fileno(), 0o600)
            for at in range(0, SIZE, MIB):
                data = self.memory.read(at, MIB)
                if any(data):
                    out.seek(at)
                    out.write(data)
            out.truncate(SIZE)


class Place:
    """Writes down what pages are, and what their struct pages say of it."""

    def __init__(self, kinds: list[Kind], marks: Marks) -> None:
        self._kinds, self._marks = kinds, marks

    def page(self, pfn: int, kind: Kind, mark: dict[str, int]) -> None:
        """One page."""
        self._kinds[pfn], self._marks[pfn] = kind, mark

    def pages(self, start: int, end: int, kind: Kind, mark: dict[str, int]) -> None:
        """All pages from ``start`` to ``end``, in MiB."""
        for pfn in range(start * MIB // PAGE, end * MIB // PAGE):
            self.page(pfn, kind, mark)

    def free(self, start: int, order: int) -> None:
        """A free block at ``start`` MiB: its first struct page alone says so."""
        first = start * MIB // PAGE
        for pfn in range(first, first + (1 << order)):
            self.page(pfn, Kind.FREE, PLAIN)
        self.page(first, Kind.FREE, {"_mapcount": _type("BUDDY"), "private": order})

    def huge(self, start: int) -> None:
        """A huge page of 2 MiB, of hugetlb: the second struct page has the order."""
        first = start * MIB // PAGE
        for pfn in range(first, first + 512):
            self.page(pfn, Kind.USER, {**PLAIN, "compound_head": 1})
        self.page(first, Kind.USER, _HUGE)
        self.page(first + 1, Kind.USER, {**PLAIN, "flags": 9, "compound_head": 1})
