# SPDX-License-Identifier: MIT
"""Each architecture, in each of its variants, on its own synthetic dead kernel."""

from __future__ import annotations

import pytest
from support.crash import DATA, IMAGE_SIZE, ROOT, UTS, Crash, Model
from support.crash_arch import AARCH64, RISCV64, X86_64, Machine
from support.crash_arch_more import MACHINES

from oldmemfs.errors import FaultError, FormatError
from oldmemfs.filter.memmap import memory_map
from oldmemfs.kernel import arch
from oldmemfs.kernel.arch.space import DirectMap, SectionBits, Space, layered
from oldmemfs.kernel.vmcoreinfo import Vmcoreinfo

each_machine = pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.name)
each_arm = pytest.mark.parametrize("machine", AARCH64, ids=lambda m: m.name)
each_riscv = pytest.mark.parametrize("machine", RISCV64, ids=lambda m: m.name)


def model_of(machine: Machine) -> Model:
    return Model.VMEMMAP if machine.vmemmap else Model.EXTREME


def without(crash: Crash, *keys: str) -> Crash:
    for key in keys:
        del crash.lines[key]
    return crash


@each_machine
def test_every_mapping_is_found(machine: Machine) -> None:
    crash = Crash(machine, model_of(machine), scatter=True)
    kernel = crash.kernel()
    assert kernel.space.paging is None or kernel.space.paging.root == machine.image_phys + ROOT
    for offset in (0, DATA + 0x123, ROOT, IMAGE_SIZE - 1):
        assert kernel.phys(machine.image + offset) == machine.image_phys + offset
    for start, end in crash.ranges:
        if machine.linear + start < 1 << 8 * machine.word:
            for phys in (start, start + 0x12345, (start + end) // 2 + 7, end - 1):
                assert kernel.phys(machine.linear + phys) == phys
    for m in crash.maps:
        for pfn in (m.pfn, m.pfn + 1, m.pfn + m.count // 2, m.end - 1):
            assert kernel.phys(crash.virt(pfn)) == crash.struct_phys(pfn)


@each_machine
def test_large_leaves_are_one_step(machine: Machine) -> None:
    crash = Crash(machine, model_of(machine))
    if machine.straight or not machine.large:
        return
    leaf = 1 << min(machine.large)
    start = -(-crash.ranges[0][0] // leaf) * leaf
    spans = list(crash.kernel().space.spans(machine.linear + start + 1, 2 * leaf))
    assert len(spans) <= 3
    assert spans[0] == (start + 1, spans[0].size)


@each_machine
def test_small_pages_hold_the_same(machine: Machine) -> None:
    crash = Crash(machine, model_of(machine), scatter=True, small=True)
    kernel = crash.kernel()
    assert memory_map(kernel) == crash.maps
    m = crash.maps[0]
    at = 0
    for phys, size in kernel.extents(m.virt, m.size):
        assert phys == crash.struct_phys(m.pfn + at // m.struct_size)
        at += size
    assert at == m.size


@each_machine
def test_what_is_not_mapped(machine: Machine) -> None:
    kernel = Crash(machine, model_of(machine)).kernel()
    hole = {22: 0x10000000000, 21: 0xC008000000000000, 3: 0xFF000000, 50: 0xA000000F00000000}
    virt = hole.get(machine.e_machine, (1 << 64) - 0x10000)
    assert list(kernel.extents(virt, 0x1000)) == [(None, 0x1000)]
    with pytest.raises(FaultError):
        kernel.phys(virt)


def test_pick() -> None:
    for each in arch.ARCHES:
        assert arch.pick(each.machine) is each
    with pytest.raises(FormatError, match="ELF machine 40"):
        arch.pick(40)


def test_x86_64_finds_phys_base_by_its_own_value() -> None:
    """Before 4.10 only the variable's address is told."""
    crash = without(Crash(X86_64), "NUMBER(phys_base)")
    base = X86_64.image_phys - (X86_64.image - 0xFFFFFFFF80000000)
    crash.symbol("phys_base", crash.cell(base % (1 << 64)))
    assert crash.kernel(loads=()).phys(X86_64.image) == X86_64.image_phys


def test_x86_64_finds_phys_base_in_the_header() -> None:
    crash = without(Crash(X86_64), "NUMBER(phys_base)")
    assert crash.kernel().phys(X86_64.image) == X86_64.image_phys
    with pytest.raises(FormatError, match="with any known phys_base"):
        crash.kernel(loads=())


@pytest.mark.parametrize("name", ["init_top_pgt", "init_level4_pgt"])
def test_x86_64_prefers_the_full_view(name: str) -> None:
    crash = Crash(X86_64)
    crash.symbol(name, X86_64.image + ROOT)
    crash.symbol("swapper_pg_dir", X86_64.image)
    assert crash.kernel().phys(X86_64.image) == X86_64.image_phys


def test_x86_64_sections() -> None:
    kinds = [SectionBits(27, 46), SectionBits(27, 52)]
    of = arch.pick(62).sections
    assert list(of(Vmcoreinfo.parse(b""))) == kinds
    assert list(of(Vmcoreinfo.parse(b"NUMBER(pgtable_l5_enabled)=1"))) == kinds[::-1]


@each_arm
def test_aarch64_needs_few_keys(machine: Machine) -> None:
    crash = without(
        Crash(machine), "NUMBER(VA_BITS)", "NUMBER(TCR_EL1_T1SZ)", "NUMBER(kimage_voffset)"
    )
    assert memory_map(crash.kernel()) == crash.maps
    with pytest.raises(FormatError, match="kimage_voffset"):
        crash.kernel(loads=())


@each_arm
def test_aarch64_needs_no_header(machine: Machine) -> None:
    crash = without(Crash(machine), "NUMBER(PHYS_OFFSET)")
    assert memory_map(crash.kernel(loads=())) == crash.maps


@each_arm
def test_aarch64_ignores_tags(machine: Machine) -> None:
    crash = Crash(machine)
    start = crash.ranges[0][0]
    tagged = machine.linear + start & ~(0xFF << 56) | 0x3A << 56
    assert crash.kernel().phys(tagged) == start


def test_aarch64_sections_by_version() -> None:
    of = arch.pick(183).sections
    assert of(Vmcoreinfo.parse(b"OSRELEASE=5.11.0\nPAGESIZE=4096"))[0] == SectionBits(30, 48)
    assert of(Vmcoreinfo.parse(b"OSRELEASE=5.12.0\nPAGESIZE=4096"))[0] == SectionBits(27, 48)
    assert of(Vmcoreinfo.parse(b"OSRELEASE=5.13.0\nPAGESIZE=65536"))[0] == SectionBits(29, 48)


@each_riscv
def test_riscv64_napot(machine: Machine) -> None:
    """Sixteen entries, each the whole of 64 KiB."""
    crash = Crash(machine)
    virt, phys = machine.vmemmap + (3 << 30), 0x83450000
    for page in range(16):
        crash.tables.leaf(virt + (page << 12), phys + 0x8000, 12, flags=1 << 63)
    crash.tables.write()
    kernel = crash.kernel()
    assert list(kernel.extents(virt, 0x10000)) == [(phys, 0x10000)]
    assert kernel.phys(virt + 0x5678) == phys + 0x5678


@each_riscv
def test_riscv64_without_the_numbers(machine: Machine) -> None:
    crash = without(Crash(machine), "NUMBER(va_kernel_pa_offset)", "NUMBER(VA_BITS)")
    assert memory_map(crash.kernel()) == crash.maps
    with pytest.raises(FormatError, match="with any known offset"):
        crash.kernel(loads=())


@each_riscv
def test_riscv64_without_tables(machine: Machine) -> None:
    """What VMCOREINFO says of the image and of the linear map is enough for those two."""
    crash = Crash(machine)
    crash.ram.write(machine.image_phys + ROOT, bytes(4096))
    kernel = crash.kernel()
    assert kernel.space.paging is None
    assert kernel.phys(machine.image + UTS) == machine.image_phys + UTS
    assert kernel.phys(machine.linear + 0x90001234) == 0x90001234
    assert list(kernel.extents(machine.vmemmap, 0x1000)) == [(None, 0x1000)]
    crash.lines["NUMBER(PAGE_OFFSET)"] = "0xffffffffffff0000"
    with pytest.raises(FormatError, match="with any known offset"):
        crash.kernel()


def test_riscv64_image_in_the_linear_map() -> None:
    """Before 5.13 the image had no window of its own."""
    base = RISCV64[0]
    machine = base.but("riscv64-5.10", image=base.linear + base.image_phys, release="5.10.0-test")
    crash = without(Crash(machine), "NUMBER(va_kernel_pa_offset)")
    assert memory_map(crash.kernel(loads=())) == crash.maps


def test_windows_do_not_overlap() -> None:
    windows = [
        DirectMap(0, 0x2000, 0),
        DirectMap(0, 0x10000, 0x50000),
        DirectMap(0x4000, 0x5000, 1),
    ]
    made = layered([*windows, DirectMap(9, 9, 9)])
    assert made == (DirectMap(0, 0x2000, 0), DirectMap(0x2000, 0x10000, 0x52000))
    space = Space(None, made)
    assert list(space.spans(0x1000, 0x10000)) == [
        (0x1000, 0x1000),
        (0x52000, 0xE000),
        (None, 0x1000),
    ]
