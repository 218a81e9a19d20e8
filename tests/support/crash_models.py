# SPDX-License-Identifier: MIT
"""The memory models of a synthetic kernel: where its struct pages are, and who says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oldmemfs.filter.memmap import MemMap

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from support.crash import Crash

EM_PPC64 = 21
EM_RISCV = 243
_HUGE = 2 << 20


def section_numbers(crash: Crash) -> list[int]:
    """The sections that hold RAM."""
    shift = crash.machine.section[0]
    return sorted({n for a, b in crash.ranges for n in range(a >> shift, (b - 1 >> shift) + 1)})


def section_pages(crash: Crash) -> int:
    return 1 << crash.machine.section[0] - crash.machine.page_shift


def build_vmemmap(
    crash: Crash, scatter: bool, hvo: Collection[int]
) -> tuple[dict[int, int], dict[int, int]]:
    """One virtual array: its pieces, each a leaf, and the pages of it that are mapped apart."""
    size = section_pages(crash) * crash.struct_size
    shift = crash.leaf_shift
    pieces: dict[int, int] = {}
    for number in section_numbers(crash):
        virt = crash.machine.vmemmap + number * size
        for piece in range(virt >> shift, (virt + size - 1 >> shift) + 1):
            if piece not in pieces:
                pieces[piece] = crash.ram.allocate(1 << shift, 1 << shift)
                if scatter:
                    crash.ram.allocate(1 << shift, 1)  # the next piece is not its neighbour
    aliases = dict(_aliases(crash, pieces, hvo))
    apart = {page << crash.machine.page_shift >> shift for page in aliases}
    if crash.machine.has_hash_mmu:
        _list(crash, pieces)
        return pieces, aliases
    for piece, phys in pieces.items():
        largest = crash.machine.page_shift if piece in apart else shift
        crash.tables.map(piece << shift, phys, 1 << shift, largest)
    for page, phys in aliases.items():
        shift_of_page = crash.machine.page_shift
        crash.tables.leaf(page << shift_of_page, phys, shift_of_page)
    return pieces, aliases


def _aliases(
    crash: Crash, pieces: dict[int, int], hvo: Collection[int]
) -> Iterator[tuple[int, int]]:
    """HVO since 5.18: one page of struct pages stands for all those of a huge page."""
    page_size, shift = crash.machine.page_size, crash.leaf_shift
    for pfn in hvo:
        virt = crash.machine.vmemmap + pfn * crash.struct_size
        phys = pieces[virt >> shift] + virt % (1 << shift)
        for at in range(virt + page_size, virt + _HUGE // page_size * crash.struct_size, page_size):
            yield at // page_size, phys


def _list(crash: Crash, pieces: dict[int, int]) -> None:
    """The hash MMU of ppc64: a list instead of tables, newest first."""
    following = 0
    for piece, phys in pieces.items():
        node = (following, phys, piece << crash.leaf_shift)
        following = crash.write_linear(b"".join(n.to_bytes(8, crash.order) for n in node))
    psizes = bytearray(16 * 24)
    psizes[5 * 24 + 4 : 5 * 24 + 8] = crash.leaf_shift.to_bytes(4, crash.order)
    crash.symbol("vmemmap_list", crash.cell(following))
    crash.symbol("mmu_vmemmap_psize", crash.cell(5, 4))
    crash.symbol("mmu_psize_defs", crash.write_linear(bytes(psizes)))
    crash.lines |= {
        "SIZE(mmu_psize_def)": "24",
        "OFFSET(mmu_psize_def.shift)": "4",
        "OFFSET(vmemmap_backing.list)": "0",
        "OFFSET(vmemmap_backing.phys)": "8",
        "OFFSET(vmemmap_backing.virt_addr)": "16",
    }


def tell_mmu(crash: Crash) -> None:
    """cur_cpu_spec of ppc64 says which MMU is in use."""
    features = 0x01000001 if crash.machine.has_hash_mmu else 0x41
    spec = crash.write_linear(bytes(16) + features.to_bytes(4, crash.order) + bytes(12))
    crash.symbol("cur_cpu_spec", crash.cell(spec))
    crash.lines["OFFSET(cpu_spec.mmu_features)"] = "16"


class Sections:
    """``mem_section``: structures of ``size`` bytes, ``section_mem_map`` their first word."""

    def __init__(self, crash: Crash, flags: int, size: int) -> None:
        self._crash, self._flags, self._size = crash, flags, size

    def build(self, model: str, by_pointer: bool) -> list[MemMap]:
        crash = self._crash
        maps = [self._map(number, model) for number in section_numbers(crash)]
        section, physmem = crash.machine.section
        total = 1 << physmem - section
        if model == "classic":
            array = self._array(
                {m.pfn // m.section_pages: self._struct(m) for m in maps}, self._size
            )
            length = total
        else:
            array, length = self._roots(maps, total)
        crash.symbol("mem_section", crash.cell(array) if by_pointer else array)
        crash.lines |= {
            "LENGTH(mem_section)": str(length),
            "SIZE(mem_section)": str(self._size),
            "OFFSET(mem_section.section_mem_map)": "0",
            "NUMBER(SECTION_SIZE_BITS)": str(section),
            "NUMBER(MAX_PHYSMEM_BITS)": str(physmem),
        }
        return _joined(maps)

    def _map(self, number: int, model: str) -> MemMap:
        crash, pages = self._crash, section_pages(self._crash)
        size = crash.struct_size
        if model == "vmemmap":
            virt = crash.machine.vmemmap + number * pages * size
        else:
            virt = crash.machine.linear + crash.ram.allocate(pages * size + 4096, 4096)
        return MemMap(number * pages, pages, virt, size, pages)

    def _struct(self, m: MemMap) -> bytes:
        crash = self._crash
        coded = (m.virt - m.pfn * m.struct_size) % (1 << 8 * crash.word) | self._flags
        return coded.to_bytes(crash.word, crash.order).ljust(self._size, b"\xff")

    def _roots(self, maps: list[MemMap], total: int) -> tuple[int, int]:
        crash = self._crash
        each = crash.machine.page_size // self._size
        structs: dict[int, dict[int, bytes]] = {}
        for m in maps:
            root, i = divmod(m.pfn // m.section_pages, each)
            structs.setdefault(root, {})[i] = self._struct(m)
        pointers = {
            root: self._array(of, self._size).to_bytes(crash.word, crash.order)
            for root, of in structs.items()
        }
        length = -(-total // each)
        return self._array(pointers, crash.word), length

    def _array(self, elements: dict[int, bytes], size: int) -> int:
        """An array with these elements, somewhere in the linear map, zeros between."""
        crash = self._crash
        phys = crash.ram.allocate((max(elements) + 1) * size, crash.machine.page_size)
        for i, element in elements.items():
            crash.ram.write(phys + i * size, element)
        return crash.machine.linear + phys


def build_nodes(crash: Crash, flat: bool) -> list[MemMap]:
    """One node over all of RAM, or one for each range: arrays of struct pages."""
    size, page_size = crash.struct_size, crash.machine.page_size
    ranges = [(crash.ranges[0][0], crash.ranges[-1][1])] if flat else crash.ranges
    if flat and crash.machine.e_machine != EM_RISCV:
        ranges = [(0, crash.ranges[-1][1])]  # only riscv counts from where RAM starts
    maps, nodes = [], []
    for start, end in ranges:
        pfn, count = start // page_size, (end - start) // page_size
        virt = crash.machine.linear + crash.ram.allocate(count * size, page_size)
        assert virt + count * size <= 1 << 8 * crash.word
        maps.append(MemMap(pfn, count, virt, size, 0))
        words = (virt, pfn, 0, count)
        nodes.append(
            crash.write_linear(b"".join(w.to_bytes(crash.word, crash.order) for w in words))
        )
    crash.lines |= {
        "OFFSET(pglist_data.node_start_pfn)": str(crash.word),
        "OFFSET(pglist_data.node_spanned_pages)": str(3 * crash.word),
    }
    if flat:
        crash.symbol("mem_map", crash.cell(maps[0].virt))
        crash.symbol("contig_page_data", nodes[0])
        return maps
    pointers = b"".join(n.to_bytes(crash.word, crash.order) for n in [0, *nodes, 0])
    crash.symbol("node_data", crash.write_linear(pointers))
    crash.lines["LENGTH(node_data)"] = str(len(nodes) + 2)
    crash.lines["OFFSET(pglist_data.node_mem_map)"] = "0"
    return maps


def _joined(maps: list[MemMap]) -> list[MemMap]:
    """Neighbours in both spaces are one map."""
    joined = [maps[0]]
    for m in maps[1:]:
        last = joined[-1]
        if (last.end, last.virt + last.size) == (m.pfn, m.virt):
            both = last.count + m.count
            joined[-1] = MemMap(last.pfn, both, last.virt, last.struct_size, last.section_pages)
        else:
            joined.append(m)
    return joined
