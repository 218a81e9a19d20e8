# SPDX-License-Identifier: MIT
"""SEEK_HOLE and SEEK_DATA equal a model, and no hole is claimed over bytes that are not zero."""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.catalogs import catalog_of, plan_of
from support.image import LOAD, Segment, crashed
from support.mounting import mounted, needs_mount, run
from support.recorded import each_golden, image

from oldmemfs.maps.pagemask import PageMask
from oldmemfs.maps.table import HOLE_LEAST, Kind, Row, Table
from oldmemfs.ranges import Range

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 4096
MASKED_PAGES = 64
SIZES = st.one_of(
    st.integers(1, 3 * HOLE_LEAST),
    st.builds(lambda n, by: max(n + by, 1), st.sampled_from([HOLE_LEAST, 2 * HOLE_LEAST]),
              st.integers(-2, 2)),
)  # fmt: skip


def holes(zero: bytes) -> list[tuple[int, int]]:
    """The stretches of zeros that are long enough; ``zero`` has a 1 for each such byte."""
    return [m.span() for m in re.finditer(b"\1+", zero) if m.end() - m.start() >= HOLE_LEAST]


def sought(zero: bytes, offset: int, *, hole: bool) -> int | None:
    """What a seek must answer: the rest of a hole is one only as long as it is long enough."""
    if offset >= len(zero):
        return None
    rest = [(start + offset, end + offset) for start, end in holes(zero[offset:])]
    if hole:
        return rest[0][0] if rest else len(zero)
    inside = rest and rest[0][0] == offset
    found = rest[0][1] if inside else offset
    return found if found < len(zero) else None


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(st.sampled_from(["zero", "data", "bad", "masked"]), SIZES), max_size=6),
    st.binary(min_size=8, max_size=8),
    st.data(),
)
def test_a_seek_equals_the_model(
    drawn: list[tuple[str, int]], bits: bytes, data: st.DataObject
) -> None:
    kept = PageMask([Range(0, MASKED_PAGES)], 12)
    # Long runs of one kind, so that a hole of masked pages is long enough now and then.
    stretched = b"".join(b"\xff" if b & 1 else b"\0" if b & 2 else bytes([b]) for b in bits)
    kept.bits[:] = stretched
    rows, zero, at = [], bytearray(), 0
    for kind, wanted in drawn:
        size = wanted
        if kind == "masked":
            size = min(wanted, MASKED_PAGES * PAGE)
            mask = data.draw(st.integers(0, MASKED_PAGES * PAGE - size))
            under = data.draw(st.sampled_from([Kind.BYTES, Kind.HOLE, Kind.ZERO]))
            rows.append(Row(at, size, under, 0, mask=mask))
            pages = [under is Kind.ZERO or pfn not in kept for pfn in range(MASKED_PAGES)]
            zero += b"".join(bytes([page]) * PAGE for page in pages)[mask : mask + size]
        else:
            rows.append(
                Row(at, size, {"zero": Kind.ZERO, "data": Kind.BYTES, "bad": Kind.HOLE}[kind])
            )
            zero += bytes([kind == "zero"]) * size
        at += size
    table = Table(rows, b"x" * 4 * HOLE_LEAST, None, kept)
    offsets = [0, at, *(max(row.start + by, 0) for row in rows for by in (-1, 0, 1, PAGE))]
    for offset in [*offsets, data.draw(st.integers(0, at + PAGE))]:
        for hole in (True, False):
            expected = sought(bytes(zero), offset, hole=hole)
            assert table.seek(offset, hole=hole) == expected, (offset, hole)
    assert table.data_size == at - sum(end - start for start, end in holes(bytes(zero)))


def claimed(table: Table) -> list[Range]:
    """Every hole that a copying program would skip."""
    found, at = [], table.seek(0, hole=True)
    while at is not None and at < table.size:
        end = table.seek(at, hole=False) or table.size
        found.append(Range(at, end))
        at = table.seek(end, hole=True)
    return found


@each_golden
def test_holes_of_real_crashes_are_zeros(golden: str) -> None:
    catalog = catalog_of(image(golden))
    for name in ("vmcore", "vmcore-kern", "oldmem"):
        table = plan_of(catalog, name).table
        found = claimed(table)
        assert bool(found) == (name != "vmcore"), name  # there every byte is the image's
        for start, end in found:
            for at in range(start, end, 1 << 20):
                part = min(1 << 20, end - at)
                assert table.read(at, part) == (bytes(part), []), f"{name} {at:#x}"
        assert table.data_size == table.size - sum(hole.size for hole in found)


@pytest.fixture
def sparse(tmp_path: Path) -> str:
    """Memory with a hole of 6 MiB: 1 MiB at 1 MiB, and 1 MiB at 8 MiB."""
    loads = [Segment(LOAD, at << 20, 1 << 20) for at in (1, 8)]
    return crashed(loads, size=9 << 20).write(tmp_path / "ram.img")


@pytest.mark.parametrize("options", ["reads=c", "reads=c,cache=pages", "reads=python"])
@pytest.mark.mount
@needs_mount[1]
def test_through_the_mount(sparse: str, tmp_path: Path, options: str) -> None:
    directory = tmp_path / "mnt"
    mib = 1 << 20
    with mounted(sparse, directory, options):
        path = directory / "oldmem"
        told = path.stat()
        assert (told.st_size, told.st_blocks) == (9 * mib, 2 * mib // 512)
        whole = (directory / "vmcore").stat()
        assert whole.st_blocks == whole.st_size / 512
        fd = os.open(path, os.O_RDONLY)
        try:
            if "python" not in options:  # there FUSE answers: all of it is data
                assert os.lseek(fd, 0, os.SEEK_DATA) == mib
                assert os.lseek(fd, mib, os.SEEK_HOLE) == 2 * mib
                assert os.lseek(fd, 3 * mib, os.SEEK_HOLE) == 3 * mib
                assert os.lseek(fd, 3 * mib, os.SEEK_DATA) == 8 * mib
                assert os.lseek(fd, 8 * mib, os.SEEK_HOLE) == 9 * mib
            for whence in (os.SEEK_DATA, os.SEEK_HOLE):
                with pytest.raises(OSError, match="No such device or address") as caught:
                    os.lseek(fd, 9 * mib, whence)
                assert caught.value.errno == errno.ENXIO
            assert os.lseek(fd, -5, os.SEEK_END) == 9 * mib - 5
        finally:
            os.close(fd)
        copy = tmp_path / "copy"
        assert run("cp", str(path), str(copy)).returncode == 0
        assert run("cmp", str(path), str(copy)).returncode == 0
        assert copy.stat().st_blocks < 3 * mib // 512


@pytest.mark.mount
@needs_mount[1]
def test_df_shows_no_full_disk(sparse: str, tmp_path: Path) -> None:
    with mounted(sparse, tmp_path / "mnt"):
        (tmp_path / "mnt" / "vmcore").stat()
        told = os.statvfs(tmp_path / "mnt")
        assert (told.f_blocks, told.f_bfree, told.f_bavail, told.f_files) == (0, 0, 0, 0)
        shown = run("df", "--output=size,used,avail,pcent", str(tmp_path / "mnt"))
        assert shown.stdout.splitlines()[1].split() == ["0", "0", "0", "-"]
