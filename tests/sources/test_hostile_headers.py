# SPDX-License-Identifier: MIT
"""Headers, notes and what looks like them, in numbers that no machine has: bounded, and said."""

from __future__ import annotations

import os
import struct
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from support import image
from support.budget import cpu_seconds
from support.catalogs import catalog_of, plan_of
from support.image import rows

from oldmemfs import cli
from oldmemfs.elf.notes import MAX_COUNT, processors
from oldmemfs.errors import FormatError, OldmemError, UsageError
from oldmemfs.maps.pagemask import PageMask
from oldmemfs.ranges import Range, subtract
from oldmemfs.sources.elf import _MAX_NOTES as MAX_NOTES
from oldmemfs.sources.findheader import find
from oldmemfs.views.catalog import LiveView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from oldmemfs.views.catalog import Catalog

SECONDS = 40  # an idle machine needs about 3 for the longest


@pytest.fixture(autouse=True)
def _soon() -> Iterator[None]:
    with cpu_seconds(SECONDS):
        yield


def test_an_image_of_magics() -> None:
    with pytest.raises(UsageError, match="no crash dump's ELF header"):
        find(image.memory(b"\x7fELF" * (16 << 20)), "here")


@pytest.mark.parametrize("at", [0, 0x400, 0x7FC00, 0xFFC00])
@pytest.mark.parametrize("start", [0, 0x200])
def test_the_header_is_found_wherever_it_may_be(at: int, start: int) -> None:
    made = image.crashed([image.Segment(image.LOAD, 0x20000, 0x1000)], 1 << 20)
    blob = bytes(made.data[image.HEADER : image.HEADER + 0x200])
    made.put(image.HEADER, bytes(0x200)).put(at, blob)
    memory = image.memory(bytes(made.data))
    assert find(memory, "here") == at
    (run,) = memory.runs
    part = type(memory)((run.part(start, run.end),))
    if at >= start:
        assert find(part, "here") == at


def test_an_image_of_headers() -> None:
    """Each is whole, but for its notes; to read them all would take an hour."""
    head = image.Blob([image.Segment(image.NOTE, 0, 0)], phnum=0xFFFF).pack()[:64]
    data = (head + bytes(960)) * (8 << 10)
    with pytest.raises(UsageError, match="too much in it looks like"):
        find(image.memory(data + bytes(4 << 20)), "here")


def test_as_many_notes_as_there_can_be(tmp_path: Path) -> None:
    made = image.Image(8 << 20).put(0x400000, bytes(4 << 20))
    head = image.Blob([image.Segment(image.NOTE, 0, 0)], phnum=0xFFFF).pack()[:64]
    made.put(0x1000, head + rows(0xFFFF, image.NOTE, 0x400000, 4 << 20))
    with pytest.raises(FormatError, match="one PT_NOTE too many"):
        catalog_of(made.write(tmp_path / "ram"), "elfcorehdr=0x1000")


def test_a_core_of_many_notes(tmp_path: Path) -> None:
    """All lie at the same place: the file is small."""
    count, used = 60000, MAX_NOTES // 4096
    head = image.Blob([image.Segment(image.NOTE, 0, 0)], phnum=count + 1).pack()[:64]
    load = rows(1, image.LOAD, 0, 4096)
    body = head + rows(count, image.NOTE, 64, 4096) + load
    path = tmp_path / "core"
    path.write_bytes(body)
    catalog = catalog_of(str(path))
    assert plan_of(catalog, "vmcore").size == len(body)
    assert len(catalog.dump.notes) == used * 4096
    assert len(catalog.dump.warnings) == count - used


@pytest.mark.parametrize("source", ["elf", "raw"])
@pytest.mark.parametrize("data", [b"\x7fELF" * 99, b"no magic", b""])
def test_a_source_that_fails_keeps_no_descriptor(source: str, data: bytes, tmp_path: Path) -> None:
    path, header = tmp_path / "ram", tmp_path / "header"
    path.write_bytes(data)
    header.write_bytes(image.Blob([image.Segment(image.LOAD, 0, 4096)]).pack())
    before = os.listdir("/proc/self/fd")
    for option in (f"source={source}", f"source={source},elfcorehdr={header}"):
        with pytest.raises(OldmemError):
            catalog_of(str(path), option)
    assert os.listdir("/proc/self/fd") == before


def test_more_processors_than_any_machine_has() -> None:
    segment = image.note(b"CORE", 1, b"") * 200_000
    assert len(processors([segment], big_endian=False)) == 1 << 14


def test_one_processor_of_many_notes() -> None:
    segment = image.note(b"CORE", 1, b"") + image.note(b"LINUX", 9, b"") * 230_000
    (cpu,) = processors([segment], big_endian=False)
    assert cpu == segment
    assert processors([b"", segment], big_endian=False) == (b"", segment)


def test_many_ranges_of_memory() -> None:
    """What is looked up one by one must not cost what all of them do."""
    count = 60000
    kept = PageMask([Range(3 * i, 3 * i + 1) for i in range(count)], 12)
    assert all([r.pfn for r in kept.cut(Range(3 * i, 3 * i + 3))] == [3 * i] for i in range(count))
    holes = [Range(3 * i, 3 * i + 1) for i in range(count)]
    for i in range(count):
        assert list(subtract(Range(3 * i, 3 * i + 3), holes)) == [Range(3 * i + 1, 3 * i + 3)]


def test_warnings_without_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Memory where there can be none, 2000 times, in a file whose name is no text."""
    nowhere = [image.Segment(image.LOAD, 1 << 60, 0x10)] * 2000
    core = image.Blob([image.Segment(image.LOAD, 0x20000, 0x1000), *nowhere]).pack()
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\rcore")
    with open(path, "wb") as file:
        file.write(core.ljust(0x40000, b"\xff"))
    catalog = catalog_of(path)
    (status,) = (v for v in catalog.views if v.name == "status")
    assert isinstance(status, LiveView)
    text = status.text(catalog)
    assert len(catalog.dump.warnings) >= 2000
    assert len(text.splitlines()) < 1100
    assert " more\n" in text
    assert "/\\xff\\x0dcore\n" in text
    cli.run(cli.read_arguments("oldmemfs", ["--info", path]))
    assert len(caplog.records) == 101
    assert "more warnings" in caplog.records[-1].message
    assert "/\\udcff\\rcore: program header 1 cannot" in caplog.text


def small_notes(size: int) -> bytes:
    """Notes of 16 bytes each, the smallest that there are."""
    return (struct.pack("<3I", 2, 0, 0) + b"A\0\0\0") * (size // 16)


def peak(work: Callable[[], object]) -> int:
    """The most bytes of Python's that ``work`` holds at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_many_small_notes_in_many_places_that_are_one(tmp_path: Path) -> None:
    """64 PT_NOTEs over the same 4 MiB took 68 s and 530 MB; without them all else is served."""
    made = image.crashed([image.Segment(image.LOAD, 0x20000, 0x1000)], 8 << 20)
    made.put(0x400000, small_notes(4 << 20))
    header = image.Blob([], phnum=66).pack()[:64] + rows(1, image.NOTE, image.NOTES, 368)
    header += rows(64, image.NOTE, 0x400000, 4 << 20) + rows(1, image.LOAD, 0x20000, 0x1000)
    made.put(0x1000, header)
    path, where = made.write(tmp_path / "ram"), "elfcorehdr=0x1000"
    with pytest.raises(FormatError, match=r"program header 1 is one PT_NOTE too many.*notes=skip"):
        catalog_of(path, where)
    catalog = catalog_of(path, f"{where},notes=skip")
    assert catalog.dump.notes == image.cpu_note()
    (warning,) = catalog.dump.warnings
    assert f"{MAX_COUNT} notes are taken" in warning
    assert plan_of(catalog, "vmcore").size == 3 * 4096


def test_an_image_whose_header_is_searched_for_has_many_small_notes(tmp_path: Path) -> None:
    made = image.Image(8 << 20).put(0x400000, small_notes(4 << 20))
    for at in range(0x1000, 0x10000, 0x1000):
        made.put(at, image.Blob([], phnum=9).pack()[:64] + rows(9, image.NOTE, 0x400000, 1 << 20))
    with pytest.raises(UsageError, match="too much in it looks like"):
        find(image.memory(bytes(made.data)), "here")


def test_a_core_of_many_small_notes(tmp_path: Path) -> None:
    made = image.Blob([], phnum=62).pack()[:64] + rows(1, image.NOTE, 0x3000, 356)
    made += rows(60, image.NOTE, 0x4000, 4 << 20) + rows(1, image.LOAD, 0, 0x1000)
    path = tmp_path / "core"
    path.write_bytes(
        made.ljust(0x3000, b"\0") + image.cpu_note().ljust(0x1000, b"\0") + small_notes(4 << 20)
    )
    opened: list[Catalog] = []
    assert peak(lambda: opened.append(catalog_of(str(path)))) < 64 << 20
    (catalog,) = opened
    assert catalog.dump.notes == image.cpu_note()
    (warning,) = catalog.dump.warnings
    assert f"more than {MAX_COUNT} notes" in warning


def test_a_driver_dump_that_is_too_large_does_not_hide_vmcoreinfo(tmp_path: Path) -> None:
    """Notes of vmcoredd stand before the others, in the same PT_NOTE; the file is sparse."""
    path, size = tmp_path / "core", 40 << 20
    behind = image.cpu_note() + image.vmcoreinfo_note()
    whole = 24 + size + len(behind)
    head = image.Blob([], phnum=2).pack()[:64] + rows(1, image.NOTE, 0x1000, whole)
    with path.open("wb") as file:
        file.write(head + rows(1, image.LOAD, 0x1000, 0x1000))
        file.seek(0x1000)
        file.write(struct.pack("<3I", 6, size, 0x700) + b"LINUX\0\0\0")
        file.seek(0x1000 + 20 + size)
        file.write(behind)
        file.write(bytes(0x1000))
    catalog = catalog_of(str(path))
    assert catalog.dump.vmcoreinfo.release == "6.1.0-test"
    assert catalog.dump.notes == behind
    (warning,) = catalog.dump.warnings
    assert "the notes of up to 0x20000 bytes" in warning
