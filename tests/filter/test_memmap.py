# SPDX-License-Identifier: MIT
"""The memory map: every model on every architecture, real crashes, and hostile sections."""

from __future__ import annotations

import contextlib
import struct

import pytest
from support import recorded
from support.budget import cpu_seconds
from support.crash import IMAGE_SIZE, Crash, Model
from support.crash_arch import AARCH64, MIB, X86_64, X86_64_5, Machine
from support.crash_arch_more import MACHINES, S390X
from support.recorded import each_golden

from oldmemfs.errors import FormatError
from oldmemfs.filter.memmap import MemMap, memory_map
from oldmemfs.kernel.kernel import Kernel
from oldmemfs.kernel.vmcoreinfo import Vmcoreinfo

each_machine = pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.name)
each_model = pytest.mark.parametrize("model", Model, ids=lambda m: m.value)
GIB = 1 << 30


def model_of(machine: Machine) -> Model:
    return Model.VMEMMAP if machine.vmemmap else Model.EXTREME


def at_most_one_range(machine: Machine) -> list[tuple[int, int]]:
    """An array from frame 0 to the end of memory must be small enough to exist."""
    return list(machine.ram[:1])


@each_model
@each_machine
def test_every_model(machine: Machine, model: Model) -> None:
    if model is Model.VMEMMAP and not machine.vmemmap:
        return  # no such kernel: 32 bits have no room for it
    crash = Crash(machine, model, ram=at_most_one_range(machine) if model is Model.FLAT else ())
    kernel = crash.kernel()
    maps = memory_map(kernel)
    assert maps == crash.maps
    assert sum(m.count for m in maps) >= sum(b - a for a, b in crash.ranges) // kernel.page_size
    for m in maps:
        assert m.size == m.count * crash.struct_size
        assert kernel.phys(m.virt) == crash.struct_phys(m.pfn)


@each_machine
def test_struct_pages_hold_what_was_put_there(machine: Machine) -> None:
    first = machine.ram[0][0] >> machine.page_shift
    pages = {pfn: {"flags": 1 << pfn % 31, "_mapcount": -pfn} for pfn in (first, first + 777)}
    fill = {"flags": 0x5A, "_mapcount": -1}
    crash = Crash(machine, model_of(machine), pages=pages, fill=fill, scatter=True)
    kernel = crash.kernel()
    m = memory_map(kernel)[0]
    mapcount = kernel.info.offset("page._mapcount")
    assert mapcount is not None
    for pfn in (first, first + 1, first + 777, first + 4000):
        virt = m.virt + (pfn - m.pfn) * m.struct_size
        members = pages.get(pfn, fill)
        assert kernel.u(virt) == members["flags"]
        assert kernel.u(virt + mapcount, 4) == members["_mapcount"] % (1 << 32)


@pytest.mark.parametrize("by_pointer", [False, True])
@pytest.mark.parametrize("machine", [X86_64, X86_64_5, AARCH64[1], S390X], ids=lambda m: m.name)
def test_array_or_pointer_to_it(machine: Machine, by_pointer: bool) -> None:
    """mem_section became a pointer in 4.15; which of the two is exported is not said."""
    crash = Crash(machine, by_pointer=by_pointer)
    assert memory_map(crash.kernel()) == crash.maps


@pytest.mark.parametrize("flags", [0x02, 0x03, 0x07, 0x0F, 0x1F, 0x3F])
def test_flags_of_every_version(flags: int) -> None:
    """Six low bits are never an address; makedumpfile masks five, and errs with 6.15's sixth."""
    crash = Crash(X86_64, section_flags=flags)
    assert memory_map(crash.kernel()) == crash.maps


def test_sections_without_struct_pages() -> None:
    with pytest.raises(FormatError, match="no section has struct pages"):
        memory_map(Crash(X86_64, section_flags=0x01).kernel())


def test_page_extension_makes_sections_larger() -> None:
    crash = Crash(X86_64, section_size=32)
    assert memory_map(crash.kernel()) == crash.maps


@pytest.mark.parametrize("machine", [*AARCH64, X86_64, X86_64_5], ids=lambda m: m.name)
def test_section_bits_that_are_not_said(machine: Machine) -> None:
    """Before 5.14: what the architecture may use, proven by LENGTH(mem_section)."""
    crash = Crash(machine)
    del crash.lines["NUMBER(SECTION_SIZE_BITS)"]
    assert memory_map(crash.kernel()) == crash.maps
    del crash.lines["NUMBER(MAX_PHYSMEM_BITS)"]
    assert memory_map(crash.kernel()) == crash.maps


def test_wrong_section_bits_map_less_memory() -> None:
    """aarch64 with sections of 27 bits, where 30 are likelier and fit the first section too."""
    base = AARCH64[1]
    low = {"NUMBER(kimage_voffset)": f"{base.image - 0x1000000:#x}"}
    machine = base.but(
        "low", low, release="5.11.0-27-bits", image_phys=0x1000000, linear=0xFFFF << 48
    )
    crash = Crash(machine, ram=((0, 0x8000000), (0x48000000, 0x60000000)))
    for key in ("NUMBER(SECTION_SIZE_BITS)", "NUMBER(MAX_PHYSMEM_BITS)", "LENGTH(mem_section)"):
        del crash.lines[key]
    assert memory_map(crash.kernel()) == crash.maps


def test_holes_and_borders() -> None:
    ram = ((0, 0x8000000), (0x10000000, 0x20000000), (0x100000000, 0x109000000))
    machine = X86_64.but("low", {"NUMBER(phys_base)": str(-0x1A200000)}, image_phys=0x1000000)
    crash = Crash(machine, ram=ram)
    assert memory_map(crash.kernel()) == [
        MemMap(0, 0x8000, machine.vmemmap, 64, 0x8000),
        MemMap(0x10000, 0x10000, machine.vmemmap + 0x400000, 64, 0x8000),
        MemMap(0x100000, 0x10000, machine.vmemmap + 0x4000000, 64, 0x8000),
    ]


def test_flat_ends_where_the_node_ends() -> None:
    """Memory that the kernel was told to leave alone (``mem=``) has no struct pages."""
    crash = Crash(X86_64, Model.FLAT)
    node = int(crash.lines["SYMBOL(contig_page_data)"], 16) - X86_64.linear
    crash.ram.write(node + 24, struct.pack("<Q", 0x1000))
    assert [m.count for m in memory_map(crash.kernel())] == [0x1000]
    del crash.lines["SYMBOL(contig_page_data)"]
    assert memory_map(crash.kernel()) == crash.maps


def test_hugetlb_vmemmap_optimisation() -> None:
    """The struct pages of a huge page are one page of memory, seen again and again."""
    crash = Crash(X86_64, hvo=[0x400, 0x8200])
    kernel = crash.kernel()
    maps = memory_map(kernel)
    assert maps == crash.maps
    for pfn in (0x400, 0x8200):
        found = list(kernel.extents(crash.virt(pfn), 512 * 64))
        assert found == [(crash.struct_phys(pfn), 0x1000)] * 8
        assert crash.struct_phys(pfn + 64) == crash.struct_phys(pfn)
    assert sum(size for m in maps for _, size in kernel.extents(m.virt, m.size)) == maps[0].size


def test_a_subsection_that_is_not_populated() -> None:
    crash = Crash(X86_64, small=True)
    m = crash.maps[0]
    for page in range(m.size - 0x8000, m.size, 0x1000):
        crash.tables.entry(m.virt + page, 3, 0)
    crash.tables.write()
    kernel = crash.kernel()
    assert memory_map(kernel) == crash.maps
    assert list(kernel.extents(m.virt, m.size))[-1] == (None, 0x8000)


def test_sections_that_are_offline() -> None:
    """Their pages have struct pages and are in the header; they are told apart from the others."""
    crash = Crash(X86_64)
    array = crash.kernel().u(int(crash.lines["SYMBOL(mem_section)"], 16))
    for number in (1, 2):
        at = array + number * 16
        crash.ram.write(at - X86_64.linear, bytes((crash.kernel().u(at, 1) & ~4,)))
    (whole,) = crash.maps
    unit = whole.section_pages
    first, offline, last = memory_map(crash.kernel())
    assert (first.pfn, first.count, first.online) == (0, unit, True)
    assert (offline.pfn, offline.count, offline.online) == (unit, 2 * unit, False)
    assert offline.virt == whole.virt + unit * whole.struct_size
    assert (last.pfn, last.end, last.online) == (3 * unit, whole.end, True)


def test_kernels_that_do_not_mark_what_is_online() -> None:
    """Before 4.13: no section has the mark, and all are online."""
    crash = Crash(X86_64, section_flags=3)
    assert memory_map(crash.kernel()) == crash.maps
    assert all(m.online for m in crash.maps)


@each_golden
def test_real_crashes(golden: str) -> None:
    memory, info = recorded.memory(golden), recorded.vmcoreinfo(golden)
    kernel = Kernel.from_vmcoreinfo(memory, info, 62, big_endian=False)
    (whole,) = memory_map(kernel)
    assert (whole.pfn, whole.count) == (0, (512 * MIB) >> 12)
    assert (whole.struct_size, whole.section_pages) == (64, 1 << 15)
    (extent,) = kernel.extents(whole.virt, whole.size)
    assert extent[0] is not None
    # the struct pages of the kernel's text: reserved at boot, so never on a list of free pages
    text = recorded.loads(golden)[0][1] >> 12
    flags = {kernel.u(whole.virt + pfn * 64) & 0xFFFF for pfn in range(text, text + 64)}
    assert len(flags) == 1
    assert flags != {0}


def test_a_tebibyte_is_no_matter_of_its_pages() -> None:
    """2 MiB leaves: 8192 of them hold the struct pages of 1 TiB."""
    crash = Crash(X86_64_5, ram=((0, 1024 * GIB),), scatter=True)
    with cpu_seconds(20):  # it takes a tenth of one
        kernel = crash.kernel()
        maps = memory_map(kernel)
        extents = [e for m in maps for e in kernel.extents(m.virt, m.size)]
    assert maps == crash.maps
    assert extents == [(phys, 2 * MIB) for phys in crash.pieces.values()]


@each_golden
def test_real_crashes_keep_their_sections_readable(golden: str) -> None:
    """Each key dropped from a real VMCOREINFO: the same map, or a reason."""
    memory, info = recorded.memory(golden), recorded.vmcoreinfo(golden)
    loads = recorded.loads(golden)
    truth = memory_map(Kernel.from_vmcoreinfo(memory, info, 62, big_endian=False, loads=loads))
    lines = info.text.split(b"\n")
    for i in range(len(lines)):
        less = Vmcoreinfo.parse(b"\n".join(lines[:i] + lines[i + 1 :]))
        with contextlib.suppress(FormatError):
            kernel = Kernel.from_vmcoreinfo(memory, less, 62, big_endian=False, loads=loads)
            assert memory_map(kernel) == truth


def test_the_image_is_no_part_of_the_free_memory() -> None:
    """The builder itself: nothing that it places overlaps the image."""
    crash = Crash(X86_64)
    assert min(crash.pieces.values()) >= X86_64.image_phys + IMAGE_SIZE
