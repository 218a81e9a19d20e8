# SPDX-License-Identifier: MIT
"""PT_LOADs, many and overlapping: work and memory stay bounded, and what is cut is said."""

from __future__ import annotations

import os
import struct
import tempfile
from typing import TYPE_CHECKING

import pytest
from support import image
from support.catalogs import catalog_of, plan_of
from support.image import rows
from support.tmpfs import needs_tmpfs

from oldmemfs.elf.header import Header, Phdr
from oldmemfs.elf.procvmcore import clamp
from oldmemfs.errors import FormatError
from oldmemfs.maps.table import MAX_ROWS, Kind, Row, Table
from oldmemfs.ranges import Range

if TYPE_CHECKING:
    from pathlib import Path


def test_more_program_headers_than_an_elf_header_can_count(tmp_path: Path) -> None:
    """A million took 1.1 GB and 120 s; the first 2^16 are used."""
    count, row = 100_000, struct.Struct("<2I6Q")
    at = 64 + 56 * count
    fields = {"shoff": at, "shentsize": 64, "shnum": 1}
    head = image.Blob([], phnum=0xFFFF, fields=fields).pack()[:64]
    loads = b"".join(
        row.pack(1, 7, 0, 0, i * 7919 % count * 0x2000 + 0x1000, 0x1000, 0x1000, 0)
        for i in range(count)
    )
    section = struct.pack("<2I4Q2I2Q", 0, 0, 0, 0, 0, 1, 0, count, 0, 0)
    path = tmp_path / "core"
    path.write_bytes(head + loads + section)
    catalog = catalog_of(str(path))
    assert len(catalog.dump.header.phdrs) == 1 << 16
    assert any("only the first 65536 are used" in w for w in catalog.dump.warnings)
    assert len(catalog.dump.memory.runs) == 1 << 16
    assert plan_of(catalog, "vmcore").size == path.stat().st_size


@needs_tmpfs
@pytest.mark.parametrize("source", ["raw", "elf"])
def test_overlapping_loads_on_a_file_in_pieces(source: str) -> None:
    """20,000 PT_LOADs over the same 500 pieces of data: it was a table of 10 million rows."""
    count, pieces, step = 20_000, 500, 0x40000
    end = (pieces + 1) * step
    row = struct.Struct("<2I6Q")
    start = 0x200000
    loads = b"".join(
        row.pack(1, 7, at, 0, at if source == "raw" else i * end, end - at, end - at, 0)
        for i, at in ((i, start + i % 64 * 4096) for i in range(count))
    )
    header = image.Blob([], phnum=count + 1).pack()[:64] + rows(1, image.NOTE, 0x30000, 368)
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        for i in range(pieces):
            os.pwrite(file.fileno(), b"\1" * (step // 2), (i + 1) * step)
        os.truncate(file.fileno(), end)
        os.pwrite(file.fileno(), image.cpu_note(), 0x30000)
        at = 0x80000 if source == "raw" else 0
        os.pwrite(file.fileno(), header + loads, at)
        catalog = catalog_of(file.name, f"source={source}" + f",elfcorehdr={at}" * bool(at))
        for name in ("vmcore", "oldmem"):
            assert plan_of(catalog, name).table.handle.count < 100_000
        got = plan_of(catalog, "oldmem").table.read(start + step, 1 << 12)
        assert got == (b"\1" * 4096, [])


def test_a_table_has_an_end() -> None:
    with pytest.raises(FormatError, match="a map of more than 1048576 pieces"):
        Table((Row(i, 1, Kind.ZERO) for i in range(MAX_ROWS + 1)), b"", None)


class Counting(int):
    """A number that counts how often it is compared."""

    compared = 0

    def __lt__(self, other: int) -> bool:
        Counting.compared += 1
        return int(self) < other

    def __le__(self, other: int) -> bool:
        Counting.compared += 1
        return int(self) <= other

    def __gt__(self, other: int) -> bool:
        Counting.compared += 1
        return int(self) > other

    __hash__ = int.__hash__


def test_cutting_loads_does_not_look_at_all_of_memory_for_each() -> None:
    """Garbage PT_LOADs among many sane ones: each was compared with each."""
    count = 2000
    known = [Range(Counting(i * 3), Counting(i * 3 + 2)) for i in range(count)]
    phdrs = tuple(Phdr(image.LOAD, 7, i * 3 + 1, 0, 0, 1 << 63, 1 << 63, 0) for i in range(count))
    header = Header(image.Blob([]).pack()[:64], 64, False, 62, phdrs)
    cut, warnings = clamp(header, 1 << 52, known, "here")
    assert [p.memsz for p in cut.phdrs] == [1] * count
    assert len(warnings) == count
    assert Counting.compared < 100 * count


@pytest.mark.parametrize(
    ("known", "size"),
    [
        ([Range(0, 0x2000), Range(0x1000, 0x1800)], 0xF00),  # the longest that holds it
        ([Range(0x1000, 0x1800), Range(0, 0x1200)], 0x700),
        ([Range(0, 0x1100)], 0),
        ([Range(0x1101, 0x2000)], 0),
        ([], 0),
    ],
)
def test_a_load_keeps_what_it_shares_with_memory(known: list[Range], size: int) -> None:
    bad = Phdr(image.LOAD, 7, 0x1100, 0, 0, 1 << 63, 1 << 63, 0)
    header = Header(image.Blob([]).pack()[:64], 64, False, 62, (bad,))
    cut, _ = clamp(header, 1 << 52, known, "here")
    assert cut.phdrs[0].memsz == cut.phdrs[0].filesz == size
