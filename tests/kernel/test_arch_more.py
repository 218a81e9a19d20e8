# SPDX-License-Identifier: MIT
"""s390x, ppc64, i386 and ia64: what each does that the others do not."""

from __future__ import annotations

import re
import struct

import pytest
from support.crash import IMAGE_SIZE, UTS, Crash, Model
from support.crash_arch import MIB, Machine
from support.crash_arch_more import I386, IA64, PPC64, S390X, S390X_APART

from oldmemfs.errors import FormatError
from oldmemfs.filter.memmap import memory_map
from oldmemfs.kernel import arch
from oldmemfs.kernel.arch.space import SectionBits
from oldmemfs.kernel.vmcoreinfo import Vmcoreinfo

each_ppc = pytest.mark.parametrize("machine", PPC64, ids=lambda m: m.name)


def without(crash: Crash, *keys: str) -> Crash:
    for key in keys:
        del crash.lines[key]
    return crash


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
    virt = 0xC008000000000000 + 0x2A5B4C3D0000  # bits in the index of every level
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
    with pytest.raises(FormatError, match=f"VMCOREINFO has no {re.escape(key)}"):
        without(hash_crash(), key).kernel()


@pytest.mark.parametrize("machine", I386, ids=lambda m: m.name)
def test_i386_finds_the_split(machine: Machine) -> None:
    crash = Crash(machine, Model.CLASSIC)
    assert memory_map(crash.kernel(loads=())) == crash.maps
    odd = machine.but("odd", image=0xE1000000, linear=0xE0000000, ram=((0, 0x10000000),))
    crash = Crash(odd, Model.CLASSIC)
    assert memory_map(crash.kernel()) == crash.maps
    with pytest.raises(FormatError, match="with any known PAGE_OFFSET"):
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
    late = (machine.image + 0x10000, machine.image_phys + 0x10000, IMAGE_SIZE)
    assert Crash(machine).kernel(loads=[late]).phys(machine.image) == machine.image_phys
    with pytest.raises(FormatError, match="init_uts_ns"):
        Crash(machine).kernel(loads=())


def test_ia64_regions() -> None:
    kernel = Crash(IA64[0]).kernel()
    assert kernel.phys(0xC000000004001234) == kernel.phys(0xE000000004001234) == 0x4001234
