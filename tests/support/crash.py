# SPDX-License-Identifier: MIT
"""A whole synthetic dead kernel: page tables, struct pages, VMCOREINFO, and what is true of it.

``Crash(machine, model, pages={pfn: {"flags": 1}})`` builds it; ``kernel()`` opens it as oldmemfs
does, and ``maps``, ``virt`` and ``struct_phys`` say what must come out. ``lines`` are the
VMCOREINFO and may be changed at any time; memory may be patched through ``ram.write``.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Literal

from oldmemfs.kernel.kernel import Kernel
from oldmemfs.kernel.vmcoreinfo import Vmcoreinfo
from support.crash_elf import elfcorehdr
from support.crash_image import Ram, Tables
from support.crash_models import EM_PPC64, Sections, build_nodes, build_vmemmap, tell_mmu

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from oldmemfs.filter.memmap import MemMap
    from oldmemfs.maps.memory import Memory
    from support.crash_arch import Machine

IMAGE_SIZE = 4 << 20
ROOT = 0x100000  # of the image: swapper_pg_dir
DATA = 0x10000  # of the image: variables
UTS = 0x20000  # of the image: init_uts_ns
# the members of struct page: offset with 8-byte words, with 4-byte words, whether it is a word
MEMBERS = {
    "flags": (0, 0, True),
    "compound_head": (8, 4, True),
    "lru": (8, 4, True),
    "mapping": (24, 12, True),
    "private": (40, 20, True),
    "_mapcount": (48, 24, False),
    "_refcount": (52, 28, False),
}
_MAX_LEAF = 25  # a leaf of struct pages is at most 32 MiB


class Model(Enum):
    VMEMMAP = "vmemmap"
    EXTREME = "extreme"
    CLASSIC = "classic"
    DISCONTIG = "discontig"
    FLAT = "flat"


class Crash:
    """``hvo`` are heads of huge pages of 2 MiB whose struct pages share their first page."""

    def __init__(
        self,
        machine: Machine,
        model: Model = Model.VMEMMAP,
        *,
        ram: Sequence[tuple[int, int]] = (),
        pages: Mapping[int, Mapping[str, int]] | None = None,
        fill: Mapping[str, int] | None = None,
        lines: Mapping[str, str] | None = None,
        section_flags: int = 0x0F,
        section_size: int | None = None,
        by_pointer: bool = False,
        scatter: bool = False,
        small: bool = False,
        hvo: Collection[int] = (),
    ) -> None:
        self.machine, self.model = machine, model
        self.big_endian, self.word = machine.big_endian, machine.word
        self.struct_size = 64 if self.word == 8 else 32
        self.ranges = tuple(ram or machine.ram)
        self.ram = Ram(self.ranges)
        self.ram.allocate(machine.image_phys + IMAGE_SIZE - self.ranges[0][0], 1)
        self.tables = Tables(machine, self.ram, machine.image_phys + ROOT)
        self.maps: list[MemMap] = []
        self._cells = DATA
        self.pieces: dict[int, int] = {}  # number of a piece of vmemmap -> phys
        self.aliases: dict[int, int] = {}  # page of vmemmap -> phys
        fits = [s for s in machine.large if s <= _MAX_LEAF and not small]
        self.leaf_shift = max([*fits, machine.page_shift])
        self.lines = self._lines()
        self._map_image()
        if machine.e_machine == EM_PPC64:
            tell_mmu(self)
        if model is Model.VMEMMAP:
            self.pieces, self.aliases = build_vmemmap(self, scatter, hvo)
        if model in (Model.FLAT, Model.DISCONTIG):
            self.maps = build_nodes(self, model is Model.FLAT)
        else:
            sections = Sections(self, section_flags, section_size or 2 * self.word)
            self.maps = sections.build(model.value, by_pointer)
        self.lines |= dict(lines or {})
        self.tables.write()
        self._write_pages(pages or {}, fill)

    # what is true

    @property
    def memory(self) -> Memory:
        return self.ram.memory

    @property
    def text(self) -> bytes:
        return "".join(f"{key}={value}\n" for key, value in self.lines.items()).encode()

    @property
    def vmcoreinfo(self) -> Vmcoreinfo:
        return Vmcoreinfo.parse(self.text)

    @property
    def loads(self) -> tuple[tuple[int, int, int], ...]:
        m = self.machine
        image = (m.image, m.image_phys, IMAGE_SIZE)
        top = 1 << 8 * m.word
        linear = [
            (m.linear + a if m.linear + a < top else top - 1, a, b - a) for a, b in self.ranges
        ]
        return (image, *linear)

    def elfcorehdr(self, cpus: int = 1, statuses: Sequence[bytes] = ()) -> bytes:
        """The header blob of this crash; its notes are written into the memory."""
        return elfcorehdr(self, cpus, statuses)

    def kernel(self, loads: Sequence[tuple[int, int, int]] | None = None) -> Kernel:
        return Kernel.from_vmcoreinfo(
            self.memory,
            self.vmcoreinfo,
            self.machine.e_machine,
            self.big_endian,
            self.loads if loads is None else loads,
        )

    def virt(self, pfn: int) -> int:
        """The address of the struct page of ``pfn``."""
        m = next(m for m in self.maps if m.pfn <= pfn < m.end)
        return m.virt + (pfn - m.pfn) * m.struct_size

    def struct_phys(self, pfn: int) -> int:
        """Where that struct page is in physical memory."""
        virt = self.virt(pfn)
        page, within = divmod(virt, self.machine.page_size)
        if page in self.aliases:
            return self.aliases[page] + within
        piece, within = divmod(virt, 1 << self.leaf_shift)
        if piece in self.pieces:
            return self.pieces[piece] + within
        return virt - self.machine.linear

    def symbol(self, name: str, virt: int) -> None:
        self.lines[f"SYMBOL({name})"] = f"{virt:x}"

    def cell(self, value: int, size: int | None = None) -> int:
        """A variable of the kernel; its address."""
        data = value.to_bytes(size or self.word, self.order)
        at = self._cells
        self._cells += 16
        self.ram.write(self.machine.image_phys + at, data)
        return self.machine.image + at

    def write_linear(self, data: bytes, align: int = 16) -> int:
        """Data somewhere in the linear map; its address."""
        phys = self.ram.allocate(len(data), align)
        self.ram.write(phys, data)
        return self.machine.linear + phys

    # how it is built

    @property
    def order(self) -> Literal["little", "big"]:
        return "big" if self.big_endian else "little"

    def _lines(self) -> dict[str, str]:
        m = self.machine
        at = 0 if self.word == 8 else 1
        lines = {
            "OSRELEASE": m.release,
            "PAGESIZE": str(m.page_size),
            "SYMBOL(init_uts_ns)": f"{m.image + UTS:x}",
            "OFFSET(uts_namespace.name)": "0",
            "SYMBOL(swapper_pg_dir)": f"{m.image + ROOT:x}",
            "SYMBOL(_stext)": f"{m.image:x}",
            "SIZE(page)": str(self.struct_size),
            "LENGTH(zone.free_area)": "11",
        }
        lines |= {f"OFFSET(page.{name})": str(of[at]) for name, of in MEMBERS.items()}
        return lines | dict(m.lines)

    def _map_image(self) -> None:
        """The image and the linear map, where tables hold them, and init_uts_ns."""
        m = self.machine
        if not m.straight:
            if m.image != m.linear + m.image_phys:
                self.tables.map(m.image, m.image_phys, IMAGE_SIZE)
            for start, end in self.ranges:
                if m.linear + start < 1 << 8 * m.word:  # else it is highmem
                    self.tables.map(m.linear + start, start, end - start)
        words = (b"Linux", b"crashed", m.release.encode(), b"#1 SMP", b"machine")
        uts = b"".join(word.ljust(65, b"\0") for word in words)
        self.ram.write(m.image_phys + UTS, uts)

    def _write_pages(
        self, pages: Mapping[int, Mapping[str, int]], fill: Mapping[str, int] | None
    ) -> None:
        each = self.machine.page_size // self.struct_size
        if fill is not None:
            data = self._struct(fill) * each
            for m in self.maps:
                for pfn in range(m.pfn, m.end, each):
                    self.ram.write(self.struct_phys(pfn), data[: (m.end - pfn) * self.struct_size])
        for pfn, members in pages.items():
            self.ram.write(self.struct_phys(pfn), self._struct({**(fill or {}), **members}))

    def _struct(self, members: Mapping[str, int]) -> bytes:
        data = bytearray(self.struct_size)
        for name, value in members.items():
            long, short, is_word = MEMBERS[name]
            at = long if self.word == 8 else short
            size = self.word if is_word else 4
            data[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, self.order)
        return bytes(data)
