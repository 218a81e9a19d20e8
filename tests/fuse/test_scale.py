# SPDX-License-Identifier: MIT
"""Scale: a sparse 16 TiB image with 10,000 RAM ranges and the notes of 4,096 CPUs.

Memory is asserted; tests/tools/bench_read.py measures times.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from support.image import LOAD, NOTE, Blob, Segment, cpu_note, pattern, vmcoreinfo_note
from support.mounting import mounted, needs_mount, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = needs_mount
TIB = 1 << 40
HEADER, NOTES, DATA = 0x1000000, 0x2000000, 0x10000000


def sparse_image(path: str, size: int, ranges: int, cpus: int) -> list[Segment]:
    """An image whose PT_LOADs share its size evenly, each with a page of data at its start."""
    step = (size - DATA) // ranges // 4096 * 4096
    loads = [Segment(LOAD, DATA + i * step, step - 4096) for i in range(ranges)]
    notes = [Segment(NOTE, NOTES + 512 * i, 368) for i in range(cpus)]
    info = Segment(NOTE, NOTES + 512 * cpus, 4132)
    with open(path, "wb") as image:
        image.truncate(size)
        for i, segment in enumerate(notes):
            os.pwrite(image.fileno(), cpu_note(i), segment.offset)
        os.pwrite(image.fileno(), vmcoreinfo_note(), info.offset)
        os.pwrite(image.fileno(), Blob([*notes, info, *loads]).pack(), HEADER)
        for i, load in enumerate(loads):
            os.pwrite(image.fileno(), pattern(4096, i), load.offset)
    return loads


def resident_kib(pid: int) -> int:
    """VmHWM: the most that a process ever had in memory."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


@pytest.fixture(params=[(1 << 30, 2, 2), (16 * TIB, 10_000, 4096)], ids=["small", "16 TiB"])
def shape(request: pytest.FixtureRequest) -> tuple[int, int, int]:
    """Size, ranges, CPUs."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs: a file of 16 TiB is more than ext4 takes, and a container's /dev/shm is small."""
    folder = tmp_path / "memory"
    folder.mkdir()
    assert run("mount", "-t", "tmpfs", "-o", "size=256m", "none", str(folder)).returncode == 0
    yield folder
    assert run("umount", "-l", str(folder)).returncode == 0


def test_large_images_cost_no_more(
    shape: tuple[int, int, int],
    memory: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    size, ranges, cpus = shape
    path = str(memory / "ram.img")
    loads = sparse_image(path, size, ranges, cpus)
    mnt = tmp_path / "mnt"
    with mounted(path, mnt, f"elfcorehdr={HEADER:#x},note_align=0") as daemon:
        vmcore = mnt / "vmcore"
        told = vmcore.stat().st_size
        head = -(-(64 + 56 * (ranges + 1)) // 4096) * 4096
        merged = 356 * cpus + len(vmcoreinfo_note())
        first = head + -(-merged // 4096) * 4096
        assert told == first + sum(load.memsz for load in loads)
        fd = os.open(vmcore, os.O_RDONLY)
        for i in range(0, ranges, max(1, ranges // 50)):
            at = first + sum(load.memsz for load in loads[:i])
            assert os.pread(fd, 4096, at) == pattern(4096, i)
        for block in range(256):
            assert len(os.pread(fd, 1 << 20, told - 257 * (1 << 20) + block * (1 << 20)))
        os.close(fd)
        assert (mnt / "oldmem").stat().st_size == loads[-1].offset + loads[-1].memsz
        assert "bad pages    0 bytes" in (mnt / "status").read_text()
        used = resident_kib(daemon.pid)
        record_property("measured", f"the daemon of an image of {size >> 30} GiB: {used} KiB")
        assert used < 80 << 10  # 60 MiB with Python 3.11
