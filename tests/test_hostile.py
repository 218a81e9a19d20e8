# SPDX-License-Identifier: MIT
"""Whatever is broken, nothing but an ``OldmemError`` comes out: ``hostile``'s checks, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import image
from support.budget import cpu_seconds
from support.catalogs import catalog_of, plan_of, read_all
from support.hostile import (
    CORE,
    KERNELS,
    check_core,
    check_header,
    check_kernel,
    check_notes,
    check_text,
)

from oldmemfs.errors import FormatError
from oldmemfs.maps.table import Kind, Row, Table

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 5  # for one example; most take milliseconds
wrecks = st.binary(max_size=200)


@pytest.mark.parametrize("which", range(len(KERNELS)))
def test_kernels_that_are_whole_are_read(which: int) -> None:
    """Else the other tests here would prove nothing."""
    assert check_kernel(which, 31, b"")


@settings(max_examples=150)
@given(st.integers(0, len(KERNELS) - 1), st.sampled_from((31, 31, 8, 1)), wrecks)
def test_kernels_that_lie(which: int, level: int, wreck: bytes) -> None:
    with cpu_seconds(SECONDS):
        check_kernel(which, level, wreck)


@settings(max_examples=150)
@given(wrecks)
def test_headers(wreck: bytes) -> None:
    with cpu_seconds(SECONDS):
        check_header(wreck)


@pytest.mark.parametrize("phys", [(1 << 64) - 0x5000, (1 << 64) - 0x4FFF, (1 << 64) - 1, 1 << 63])
def test_memory_at_the_end_of_all_addresses(phys: int, tmp_path: Path) -> None:
    """C counted past 2^64, and read on behind its own table or for ever."""
    load = image.Segment(image.LOAD, 0x10000, 0x5000 if phys + 0x5000 <= 1 << 64 else 1, paddr=phys)
    made = image.crashed([load, image.Segment(image.LOAD, 0x18000, 0x1000)])
    catalog = catalog_of(made.write(tmp_path / "ram"), f"elfcorehdr={image.HEADER:#x}")
    assert any(
        "addresses that no machine has; these are in `vmcore`" in warning
        for warning in catalog.dump.warnings
    )
    oldmem, vmcore = plan_of(catalog, "oldmem"), plan_of(catalog, "vmcore")
    assert oldmem.size == 0x19000
    assert read_all(vmcore)[0][0x2000:0x3000] == made.data[0x10000:0x11000]


def test_a_table_that_c_cannot_count() -> None:
    with pytest.raises(FormatError, match="at most 0x8000000000000000 can be read"):
        Table([Row(0, 1 << 63, Kind.ZERO), Row(1 << 63, 1, Kind.ZERO)], b"", None)


def test_a_header_that_is_whole_is_read() -> None:
    assert check_header(b"")


@settings(max_examples=150)
@given(st.lists(st.tuples(st.integers(0, 0x240), st.binary(max_size=8)), max_size=8))
@example([])
def test_cores(blows: list[tuple[int, bytes]]) -> None:
    data = bytearray(CORE)
    for at, new in blows:
        data[at : at + len(new)] = new
    with cpu_seconds(SECONDS):
        assert check_core(bytes(data)) or blows


@settings(max_examples=300)
@given(st.binary(), st.booleans())
def test_notes(data: bytes, big_endian: bool) -> None:
    with cpu_seconds(SECONDS):
        check_notes(data, big_endian)
        check_notes(image.cpu_note(big=big_endian) + data, big_endian)


KEYS = ("OSRELEASE", "PAGESIZE", "SIZE(page)", "OFFSET(page.flags)", "NUMBER(PG_lru)", "NUMBER(x)")
values = st.one_of(st.text(max_size=30), st.integers().map(str), st.integers(0).map(hex))


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(KEYS), values)), st.binary())
def test_vmcoreinfo(lines: list[tuple[str, str]], junk: bytes) -> None:
    text = "".join(f"{key}={value}\n" for key, value in lines)
    with cpu_seconds(SECONDS):
        check_text(text.encode("utf-8", "replace") + junk)
