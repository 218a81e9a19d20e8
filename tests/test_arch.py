"""Each architecture, in each of its variants, on its own synthetic dead kernel."""

from __future__ import annotations

import struct

import pytest
from crash import DATA, IMAGE_SIZE, ROOT, UTS, Crash, Model
from crash_arch import AARCH64, MIB, RISCV64, X86_64, Machine
from crash_arch_more import I386, IA64, MACHINES, PPC64, S390X, S390X_APART

from oldmemfs import arch
from oldmemfs.arch.space import SectionBits, Space, Window, layered
from oldmemfs.errors import FaultError, FormatError
from oldmemfs.memmap import memory_map
from oldmemfs.vmcoreinfo import Vmcoreinfo

each_machine = pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.name)
each_arm = pytest.mark.parametrize("machine", AARCH64, ids=lambda m: m.name)
each_riscv = pytest.mark.parametrize("machine", RISCV64, ids=lambda m: m.name)
each_ppc = pytest.mark.parametrize("machine", PPC64, ids=lambda m: m.name)


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
    with pytest.raises(FormatError, match="from no phys_base"):
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
    with pytest.raises(FormatError, match="from no offset"):
        crash.kernel(loads=())


def test_riscv64_image_in_the_linear_map() -> None:
    """Before 5.13 the image had no window of its own."""
    base = RISCV64[0]
    machine = base.but("riscv64-5.10", image=base.linear + base.image_phys, release="5.10.0-test")
    crash = without(Crash(machine), "NUMBER(va_kernel_pa_offset)")
    assert memory_map(crash.kernel(loads=())) == crash.maps


def test_s390x_high_memory() -> None:
    crash = Crash(S390X)
    crash.symbol("high_memory", crash.cell(0x10000000))
    kernel = crash.kernel()
    assert kernel.phys(0xFFFFFFF) == 0xFFFFFFF
    assert list(kernel.extents(0x10000000, MIB)) == [(None, MIB)]
    crash.symbol("high_memory", crash.cell(0x1000))  # cannot be: the kernel is above
    assert crash.kernel().phys(0x1FFFFFFF) == 0x1FFFFFFF


def os_info(crash: Crash, at: int = 0x20000) -> None:
    """What the kernel leaves for those who come after it, as VMCOREINFO says it too."""
    values = [0] * 4
    values += [
        int(crash.lines.pop(k), 16) for k in ("IDENTITYBASE", "KERNELOFFSET", "KERNELOFFPHYS")
    ]
    values += [crash.machine.vmemmap, 0x10000, 0x13000, 0, 0, 0]
    entries = b"".join(struct.pack(">QQI", value, 0, 0) for value in values)
    head = struct.pack(">QIHHQQ", 0x4F53494E464F535A, 0, 1, 1, 0, 0)
    crash.ram.write(at, head + entries)
    crash.ram.write(0xE18, struct.pack(">Q", at))


def test_s390x_os_info() -> None:
    crash = Crash(S390X_APART)
    os_info(crash)
    kernel = crash.kernel()
    assert memory_map(kernel) == crash.maps
    assert kernel.phys(0x12FFF) == 0x12FFF
    assert kernel.phys(0x1FFF) == 0x1FFF
    assert list(kernel.extents(0x2000, 0x1000)) == [(None, 0x1000)]


@pytest.mark.parametrize("pointer", [0, 0x20001, 1 << 40, 0x21000])
def test_s390x_without_os_info(pointer: int) -> None:
    crash = Crash(S390X_APART)
    os_info(crash)
    crash.ram.write(0xE18, struct.pack(">Q", pointer))
    with pytest.raises(FormatError, match="swapper_pg_dir"):
        crash.kernel()


@each_ppc
def test_ppc64_without_features(machine: Machine) -> None:
    """Where the CPU's features are not exported, the list tells which MMU it is."""
    crash = without(Crash(machine), "SYMBOL(cur_cpu_spec)", "NUMBER(RADIX_MMU)")
    assert memory_map(crash.kernel()) == crash.maps


@each_ppc
def test_ppc64_walks_vmalloc(machine: Machine) -> None:
    crash = Crash(machine)
    virt = 0xC008000000000000 + 0x5A0000
    crash.tables.leaf(virt, 0x3450000, machine.page_shift)
    crash.tables.write()
    kernel = crash.kernel()
    known = kernel.info.version >= (4, 7, 0)
    assert list(kernel.extents(virt, 0x1000)) == [(0x3450000 if known else None, 0x1000)]


def hash_crash() -> Crash:
    return Crash(next(m for m in PPC64 if m.has_hash_mmu))


def test_ppc64_list_that_never_ends() -> None:
    crash = hash_crash()
    head = crash.kernel().u(int(crash.lines["SYMBOL(vmemmap_list)"], 16))
    crash.ram.write(head - crash.machine.linear, head.to_bytes(8, "little"))
    with pytest.raises(FormatError, match="does not end"):
        crash.kernel()


def test_ppc64_list_that_leads_nowhere() -> None:
    crash = hash_crash()
    crash.symbol("vmemmap_list", crash.cell(0x1234))
    with pytest.raises(FormatError, match="not an address of the linear map"):
        crash.kernel()


@pytest.mark.parametrize(
    "key",
    ["SIZE(mmu_psize_def)", "OFFSET(mmu_psize_def.shift)", "SYMBOL(mmu_psize_defs)",
     "SYMBOL(mmu_vmemmap_psize)", "OFFSET(vmemmap_backing.phys)"],
)  # fmt: skip
def test_ppc64_list_needs_its_keys(key: str) -> None:
    with pytest.raises(FormatError, match="VMCOREINFO does not say"):
        without(hash_crash(), key).kernel()


@pytest.mark.parametrize("machine", I386, ids=lambda m: m.name)
def test_i386_finds_the_split(machine: Machine) -> None:
    crash = Crash(machine, Model.CLASSIC)
    assert memory_map(crash.kernel(loads=())) == crash.maps
    odd = machine.but("odd", image=0xE1000000, linear=0xE0000000, ram=((0, 0x10000000),))
    crash = Crash(odd, Model.CLASSIC)
    assert memory_map(crash.kernel()) == crash.maps
    with pytest.raises(FormatError, match="from no PAGE_OFFSET"):
        crash.kernel(loads=())


def test_i386_sections() -> None:
    of = arch.pick(3).sections
    assert list(of(Vmcoreinfo.parse(b""))) == [SectionBits(26, 32)]
    pae = Vmcoreinfo.parse(b"CONFIG_X86_PAE=y")
    assert list(of(pae)) == [SectionBits(29, 36), SectionBits(30, 36)]


def test_ia64_loaded_elsewhere() -> None:
    machine = IA64[0].but("ia64-high", image_phys=0x14000000)
    assert memory_map(Crash(machine).kernel()) == Crash(machine).maps
    assert Crash(IA64[0]).kernel(loads=()).phys(IA64[0].image + UTS) == IA64[0].image_phys + UTS
    with pytest.raises(FormatError, match="init_uts_ns"):
        Crash(machine).kernel(loads=())


def test_ia64_regions() -> None:
    kernel = Crash(IA64[0]).kernel()
    assert kernel.phys(0xC000000004001234) == kernel.phys(0xE000000004001234) == 0x4001234


def test_windows_do_not_overlap() -> None:
    windows = [Window(0, 0x2000, 0), Window(0, 0x10000, 0x50000), Window(0x4000, 0x5000, 1)]
    made = layered([*windows, Window(9, 9, 9)])
    assert made == (Window(0, 0x2000, 0), Window(0x2000, 0x10000, 0x52000))
    space = Space(None, made)
    assert list(space.spans(0x1000, 0x10000)) == [
        (0x1000, 0x1000),
        (0x52000, 0xE000),
        (None, 0x1000),
    ]
