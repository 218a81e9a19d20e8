# SPDX-License-Identifier: MIT
"""Memory maps of kernels that lie: a map of memory that is there, or a reason, in bounded time."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.budget import cpu_seconds
from support.crash import Crash, Model
from support.crash_arch import X86_64, X86_64_5, Machine
from support.crash_arch_more import I386, S390X_APART

from oldmemfs.errors import FormatError
from oldmemfs.filter.memmap import memory_map
from oldmemfs.maps.memory import Memory

each_model = pytest.mark.parametrize("model", Model, ids=lambda m: m.value)


@each_model
@pytest.mark.parametrize("machine", [X86_64, I386[0], I386[2], S390X_APART], ids=lambda m: m.name)
def test_each_key_may_be_missing(machine: Machine, model: Model) -> None:
    if model is Model.VMEMMAP and not machine.vmemmap:
        return
    crash = Crash(machine, model)
    lines = dict(crash.lines)
    for key in lines:
        crash.lines = {k: v for k, v in lines.items() if k != key}
        with contextlib.suppress(FormatError):
            assert memory_map(crash.kernel()) == crash.maps


HOSTILE = ["0", "1", "-1", "3", "7fffffffffffffff", "8000000000000000", "9223372036854775808"]


@each_model
@pytest.mark.parametrize("value", HOSTILE)
def test_each_key_may_lie(model: Model, value: str) -> None:
    crash = Crash(X86_64, model)
    lines = dict(crash.lines)
    with cpu_seconds(40):
        for key in lines:
            crash.lines = {**lines, key: value}
            with contextlib.suppress(FormatError):
                maps = memory_map(crash.kernel())
                assert all(m.count > 0 < m.struct_size for m in maps)
                assert sum(m.count for m in maps) <= crash.memory.end >> 12


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_sections_of_garbage(data: st.DataObject) -> None:
    """Whatever stands in mem_section: maps of memory that is there, or a reason."""
    crash = Crash(X86_64, data.draw(st.sampled_from([Model.EXTREME, Model.CLASSIC])))
    array = int(crash.lines["SYMBOL(mem_section)"], 16) - X86_64.linear
    root = crash.kernel().u(array + X86_64.linear) - X86_64.linear
    for base in (array, root):
        if not 0 <= base < crash.ranges[0][1]:
            continue
        for _ in range(data.draw(st.integers(0, 6))):
            at = data.draw(st.integers(0, 64))
            crash.ram.write(base + at, data.draw(st.binary(min_size=1, max_size=16)))
    with contextlib.suppress(FormatError):
        maps = memory_map(crash.kernel())
        assert maps == sorted(maps)
        for m in maps:
            assert 0 <= m.pfn < m.end <= -(-crash.memory.end >> 12) or m.end % m.section_pages == 0
            assert m.virt >= 1 << 63


def test_roots_that_are_all_the_same() -> None:
    """A full mem_section of one root: as many sections as there is memory, no more."""
    crash = Crash(X86_64, Model.EXTREME)
    at = int(crash.lines["SYMBOL(mem_section)"], 16) - X86_64.linear
    root = crash.memory.read(at, 8)
    crash.ram.write(at, root * 2048)
    assert memory_map(crash.kernel()) == crash.maps


def test_more_memory_than_there_can_be() -> None:
    crash = Crash(X86_64_5)
    run = crash.memory.runs[0]
    kernel = replace(crash.kernel(), memory=Memory((replace(run, size=1 << 52),)))
    with pytest.raises(FormatError, match="too many sections"):
        memory_map(kernel)


@pytest.mark.parametrize("size", ["0", "2", "63", "513", "-64", "9223372036854775808"])
def test_sizes_of_struct_page_that_cannot_be(size: str) -> None:
    crash = Crash(X86_64, lines={"SIZE(page)": size})
    with pytest.raises(FormatError, match=r"SIZE\(page\)"):
        memory_map(crash.kernel())


@pytest.mark.parametrize("nodes", ["5000", "9223372036854775807"])
def test_more_nodes_than_there_can_be(nodes: str) -> None:
    crash = Crash(X86_64, Model.DISCONTIG, lines={"LENGTH(node_data)": nodes})
    with pytest.raises(FormatError, match="LENGTH"):
        memory_map(crash.kernel())


def test_nodes_that_overlap() -> None:
    crash = Crash(X86_64, Model.DISCONTIG)
    symbol = int(crash.lines["SYMBOL(node_data)"], 16) - X86_64.linear
    node = crash.memory.read(symbol + 8, 8)
    crash.ram.write(symbol + 16, node)
    with pytest.raises(FormatError, match="nodes overlap"):
        memory_map(crash.kernel())


@pytest.mark.parametrize("virt", [0, 0x1000, 0xFFFF8ED140000001])
def test_an_array_that_is_no_kernel_address(virt: int) -> None:
    crash = Crash(X86_64, Model.FLAT)
    crash.symbol("mem_map", crash.cell(virt))
    with pytest.raises(FormatError, match="no kernel address"):
        memory_map(crash.kernel())


def test_nothing_is_said_of_the_map() -> None:
    crash = Crash(X86_64)
    del crash.lines["SYMBOL(mem_section)"]
    with pytest.raises(FormatError, match=r"none of SYMBOL\(mem_section\), SYMBOL\(mem_map\)"):
        memory_map(crash.kernel())
