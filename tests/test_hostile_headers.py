"""Headers, notes and what looks like them, in numbers that no machine has: bounded, and said."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import image
import pytest
from budget import cpu_seconds
from reading import catalog_of, plan_of

from oldmemfs import cli
from oldmemfs.blobscan import find
from oldmemfs.dump import processors
from oldmemfs.errors import FormatError, OldmemError, UsageError
from oldmemfs.kept import Kept
from oldmemfs.ranges import Range, subtract
from oldmemfs.view import LiveView

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS = 40  # an idle machine needs about 3 for the longest


@pytest.fixture(autouse=True)
def _soon() -> Iterator[None]:
    with cpu_seconds(SECONDS):
        yield


def rows(count: int, kind: int, at: int, size: int) -> bytes:
    return struct.pack("<2I6Q", kind, 0, at, 0, at, size, size, 0) * count


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
    with pytest.raises(FormatError, match="PT_NOTEs hold more"):
        catalog_of(made.write(tmp_path / "ram"), "elfcorehdr=0x1000")


def test_a_core_of_many_notes(tmp_path: Path) -> None:
    """All lie at the same place: the file is small."""
    count = 60000
    head = image.Blob([image.Segment(image.NOTE, 0, 0)], phnum=count + 1).pack()[:64]
    load = rows(1, image.LOAD, 0, 4096)
    body = head + rows(count, image.NOTE, 64, 4096) + load
    path = tmp_path / "core"
    path.write_bytes(body)
    catalog = catalog_of(str(path))
    assert plan_of(catalog, "vmcore").size == len(body)
    assert len(catalog.dump.notes) == count * 4096


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
    kept = Kept([Range(3 * i, 3 * i + 1) for i in range(count)], 12)
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
