# SPDX-License-Identifier: MIT
"""The kernel: its reads, its extents, what it proves of itself, and what it refuses."""

from __future__ import annotations

import contextlib
import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import recorded
from support.budget import cpu_seconds
from support.crash import ROOT, UTS, Crash, Model
from support.crash_arch import X86_64, Machine
from support.crash_arch_more import I386, MACHINES, S390X
from support.recorded import each_golden

from oldmemfs.errors import FaultError, FormatError
from oldmemfs.kernel.arch.paging import TableCache
from oldmemfs.kernel.kernel import MAX_READ, Kernel
from oldmemfs.kernel.vmcoreinfo import Vmcoreinfo
from oldmemfs.maps.memory import Memory, Run

each_machine = pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.name)
HOLE = 0xFFFFC90000000000  # of X86_64: nothing is mapped from here on


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    return Crash(X86_64).kernel()


def model_of(machine: Machine) -> Model:
    return Model.VMEMMAP if machine.vmemmap else Model.EXTREME


@each_machine
def test_basics(machine: Machine) -> None:
    crash = Crash(machine, model_of(machine))
    kernel = crash.kernel()
    assert kernel.word == machine.word
    assert (kernel.page_size, 1 << kernel.page_shift) == (machine.page_size,) * 2
    assert kernel.u(crash.cell(0x1234)) == 0x1234
    assert kernel.u(crash.cell(0xABCD, 2), 2) == 0xABCD
    assert kernel.read(machine.image + UTS, 6) == b"Linux\0"


@each_machine
def test_another_kernel_is_refused(machine: Machine) -> None:
    crash = Crash(machine, model_of(machine))
    crash.lines["OSRELEASE"] = machine.release + "x"
    with pytest.raises(FormatError, match=r"init_uts_ns at 0x"):
        crash.kernel()


@each_machine
def test_uts_after_a_reference_count(machine: Machine) -> None:
    crash = Crash(machine, model_of(machine))
    del crash.lines["OFFSET(uts_namespace.name)"]
    assert crash.kernel().read(machine.image + UTS, 6) == b"Linux\0"
    crash.symbol("init_uts_ns", machine.image + UTS - 4)
    assert crash.kernel().read(machine.image + UTS, 6) == b"Linux\0"
    crash.symbol("init_uts_ns", machine.image + UTS - 8)
    with pytest.raises(FormatError, match="init_uts_ns"):
        crash.kernel()


@each_machine
def test_memory_that_is_not_its_own(machine: Machine) -> None:
    crash = Crash(machine, model_of(machine))
    other = Memory(tuple(Run(r.phys, r.size, -1, 0) for r in crash.ram.runs))  # unreadable
    info = crash.vmcoreinfo
    with pytest.raises(FormatError):
        Kernel.from_vmcoreinfo(other, info, machine.e_machine, machine.big_endian, crash.loads)
    with pytest.raises(FormatError):
        Kernel.from_vmcoreinfo(Memory(()), info, machine.e_machine, machine.big_endian, crash.loads)


@pytest.mark.parametrize(
    "size", ["", "0", "-4096", "2048", "12288", "131072", "9223372036854775808"]
)
def test_page_sizes_that_no_kernel_has(size: str) -> None:
    crash = Crash(X86_64)
    crash.lines["PAGESIZE"] = size
    with pytest.raises(FormatError, match=f"VMCOREINFO says PAGESIZE={size}, which no kernel has"):
        crash.kernel()


def test_without_a_page_size() -> None:
    crash = Crash(X86_64)
    del crash.lines["PAGESIZE"]
    with pytest.raises(FormatError, match=r"VMCOREINFO has no PAGESIZE$"):
        crash.kernel()
    nothing = Vmcoreinfo.parse(b"")
    with pytest.raises(FormatError, match="there is no VMCOREINFO in the dump's notes"):
        Kernel.from_vmcoreinfo(
            crash.memory, nothing, X86_64.e_machine, X86_64.big_endian, crash.loads
        )


def test_release_is_needed() -> None:
    crash = Crash(X86_64)
    del crash.lines["OSRELEASE"]
    with pytest.raises(FormatError, match="OSRELEASE"):
        crash.kernel()


def test_reads_join_pages() -> None:
    crash = Crash(X86_64)
    virt, a, b = HOLE, 0x3000000, 0x2000000
    crash.tables.leaf(virt, a, 12)
    crash.tables.leaf(virt + 0x1000, b, 12)
    crash.tables.write()
    crash.ram.write(a + 0xFFC, b"left")
    crash.ram.write(b, b"right")
    kernel = crash.kernel()
    assert kernel.read(virt + 0xFFC, 9) == b"leftright"
    assert list(kernel.extents(virt + 0x800, 0x1000)) == [(a + 0x800, 0x800), (b, 0x800)]
    with pytest.raises(FaultError):
        kernel.read(virt + 0x1FFF, 2)


def test_extents_join_what_touches(kernel: Kernel) -> None:
    size = 0x20000000
    assert list(kernel.extents(X86_64.linear, size)) == [(0, size)]
    assert list(kernel.extents(X86_64.linear - 0x1000, size + 0x3000)) == [
        (None, 0x1000),
        (0, size),
        (None, 0x2000),
    ]


def test_extents_at_the_ends(kernel: Kernel) -> None:
    top = 1 << 64
    assert list(kernel.extents(X86_64.linear, 0)) == []
    assert list(kernel.extents(0, 1 << 47)) == [(None, 1 << 47)]
    assert list(kernel.extents(top - 1, 1)) == [(None, 1)]
    assert list(kernel.extents(top - 1, 2)) == [(None, 2)]  # past the end of all addresses
    assert list(kernel.extents(1 << 47, 1)) == [(None, 1)]  # not canonical


@pytest.mark.parametrize("size", [-1, MAX_READ + 1, 1 << 63])
def test_sizes_that_no_structure_has(kernel: Kernel, size: int) -> None:
    with pytest.raises(FormatError, match="a structure of"):
        kernel.read(X86_64.linear, size)


def test_an_empty_read(kernel: Kernel) -> None:
    assert kernel.read(HOLE, 0) == b""


@settings(max_examples=60, deadline=None)
@given(
    leaves=st.dictionaries(
        st.integers(0, 1100), st.tuples(st.integers(0, 0x1F000), st.booleans()), max_size=30
    ),
    start=st.integers(0, 0x44C000),
    size=st.integers(0, 0x44C000),
)
def test_extents_are_what_single_walks_say(
    leaves: dict[int, tuple[int, bool]], start: int, size: int
) -> None:
    """Any mix of small and large leaves: the same as asking for one page after the other."""
    crash = Crash(X86_64)
    truth: dict[int, int] = {}
    for page, (frame, large) in sorted(leaves.items(), key=lambda leaf: leaf[1][1]):
        if large:  # placed last, over whatever pages there are
            crash.tables.leaf(HOLE + (page // 512 << 21), frame // 512 << 21, 21)
            truth |= {page // 512 * 512 + i: frame // 512 * 512 + i for i in range(512)}
        else:
            crash.tables.leaf(HOLE + (page << 12), frame << 12, 12)
            truth[page] = frame
    crash.tables.write()
    kernel = crash.kernel()
    at = HOLE + start
    last: tuple[int | None, int | None] | None = None
    for phys, length in kernel.extents(HOLE + start, size):
        for virt in (at, at + length // 2, at + length - 1):
            where = truth.get(virt - HOLE >> 12)
            expected = None if where is None else (where << 12) + virt % 0x1000
            assert expected == (None if phys is None else phys + virt - at)
        assert length > 0
        assert last is None or (phys is None) != (last[0] is None) or phys != last[1]
        last = (phys, None if phys is None else phys + length)
        at += length
    assert at == HOLE + start + size


@each_machine
def test_the_header_leads_to_the_same_kernel(machine: Machine) -> None:
    """The builder's ELF header: its notes and PT_LOADs say what the crash says."""
    crash = Crash(machine, model_of(machine))
    order = ">" if machine.big_endian else "<"
    blob = crash.elfcorehdr(cpus=2)
    count = struct.unpack_from(f"{order}H", blob, 56)[0]
    assert len(blob) == 64 + 56 * count
    found = [struct.unpack_from(f"{order}2I6Q", blob, 64 + 56 * i) for i in range(count)]
    notes = [crash.memory.read(h[2], h[5]) for h in found if h[0] == 4]
    assert [len(n) for n in notes[:2]] == [356, 356]
    info = Vmcoreinfo.parse(notes[2][24:])
    loads = [(virt, phys, size) for kind, _, _, virt, phys, size, _, _ in found if kind == 1]
    assert info == crash.vmcoreinfo
    kernel = Kernel.from_vmcoreinfo(
        crash.memory, info, machine.e_machine, machine.big_endian, loads
    )
    assert kernel.loads == crash.loads


# hostile memory


@each_machine
def test_each_key_may_be_missing(machine: Machine) -> None:
    """Without it, the answer is the right one, or a reason why there is none."""
    crash = Crash(machine, model_of(machine))
    lines = dict(crash.lines)
    for key in lines:
        crash.lines = {k: v for k, v in lines.items() if k != key}
        with contextlib.suppress(FormatError):
            assert crash.kernel().phys(machine.image + UTS) == machine.image_phys + UTS


@each_machine
@pytest.mark.parametrize("value", ["0", "1", "-1", "7fffffffffffffff", "8000000000000000", "x"])
def test_each_key_may_lie(machine: Machine, value: str) -> None:
    crash = Crash(machine, model_of(machine))
    lines = dict(crash.lines)
    for key in lines:
        crash.lines = {**lines, key: value}
        with contextlib.suppress(FormatError):
            assert crash.kernel().phys(machine.image + UTS) == machine.image_phys + UTS


@pytest.mark.parametrize("machine", [X86_64, S390X, *I386], ids=lambda m: m.name)
def test_tables_in_a_cycle(machine: Machine) -> None:
    """Every entry leads back to the root: a walk ends after its levels."""
    crash = Crash(machine, model_of(machine))
    paging = crash.kernel().space.paging
    assert paging is not None
    top = machine.levels[0]
    again = machine.table(paging.root, top[0])
    for index in range(1 << top[1]):
        crash.tables.entry(index << top[0], 0, again)
    crash.tables.write()
    fresh = replace(paging, cache=TableCache(crash.memory))
    end = 1 << 8 * machine.word
    with cpu_seconds(20):
        spans = list(fresh.spans(end - 0x400000, end))
    assert sum(span.size for span in spans) == 0x400000


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_garbage_tables(data: st.DataObject) -> None:
    """Random entries at random places: an answer or a reason, in bounded time."""
    machine = data.draw(st.sampled_from([m for m in MACHINES if not m.straight]))
    crash = Crash(machine, model_of(machine))
    root = machine.image_phys + ROOT
    size = machine.entry.size << machine.levels[0][1]
    for _ in range(data.draw(st.integers(1, 20))):
        at = data.draw(st.integers(0, size - 8))
        crash.ram.write(root + at, data.draw(st.binary(min_size=1, max_size=8)))
    try:
        kernel = crash.kernel()
    except FormatError:
        return
    for phys, length in kernel.extents((1 << 64) - (1 << 30), 1 << 30):
        assert length > 0
        assert phys is None or phys >= 0


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 400), st.binary(max_size=300))
def test_garbage_vmcoreinfo(machine: int, text: bytes) -> None:
    with pytest.raises(FormatError):
        Kernel.from_vmcoreinfo(Memory(()), Vmcoreinfo.parse(text), machine, big_endian=False)


# real crashes


@each_golden
def test_real_crashes(golden: str) -> None:
    """Page tables and the header's PT_LOADs agree on where everything is."""
    memory, info = recorded.memory(golden), recorded.vmcoreinfo(golden)
    loads = recorded.loads(golden)
    kernel = Kernel.from_vmcoreinfo(memory, info, 62, big_endian=False, loads=loads)
    assert str(info.release) in (recorded.folder(golden) / "dmesg.txt").read_text(
        "utf-8", "replace"
    )
    for virt, phys, size in loads:
        assert kernel.phys(virt) == phys
        assert kernel.phys(virt + size - 1) == phys + size - 1
    for virt, phys, size in loads[1:]:
        assert list(kernel.extents(virt, size)) == [(phys, size)]


@each_golden
def test_real_crashes_with_less_said(golden: str) -> None:
    memory, text = recorded.memory(golden), recorded.vmcoreinfo(golden).text
    less = [line for line in text.split(b"\n") if b"phys_base" not in line and b"l5_" not in line]
    info = Vmcoreinfo.parse(b"\n".join(less))
    loads = recorded.loads(golden)
    kernel = Kernel.from_vmcoreinfo(memory, info, 62, big_endian=False, loads=loads)
    assert kernel.phys(loads[1][0]) == loads[1][1]
    with pytest.raises(FormatError, match="phys_base"):
        Kernel.from_vmcoreinfo(memory, info, 62, big_endian=False)
