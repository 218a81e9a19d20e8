# SPDX-License-Identifier: MIT
"""Reads that are not copied by us, or are answered on the reader's CPU: the same bytes as ever."""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.mounting import needs_mount
from support.served import DATA, MIB, PAGE, START, Daemon, served, write_core

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs_mount
END = START + DATA  # of what the core's file has


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """A folder on tmpfs: images there are mapped, and held for the reply."""
    made = tempfile.mkdtemp(prefix="oldmemfs-test-", dir="/dev/shm")
    yield Path(made)
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def held(memory: Path) -> Iterator[tuple[Daemon, dict[str, bytes]]]:
    """A core on tmpfs whose second PT_LOAD is cut off, read past the page cache."""
    views = write_core(str(memory / "core"))
    with served(str(memory / "core"), str(memory / "mnt"), "reads=c,cache=none") as daemon:
        yield daemon, views


@settings(max_examples=200, deadline=None)
@given(
    view=st.sampled_from(["vmcore", "oldmem"]),
    at=st.one_of(
        st.integers(0, END + 3 * MIB),
        st.builds(lambda edge, by: max(edge + by, 0),
                  st.sampled_from([0, START, END, MIB, 2 * MIB]), st.integers(-9000, 9000)),
    ),
    size=st.sampled_from([1, PAGE, 16384, 16385, 70_000, MIB - 1, MIB, 2 * MIB]),
)  # fmt: skip
def test_held_bytes_are_the_bytes(
    held: tuple[Daemon, dict[str, bytes]], view: str, at: int, size: int
) -> None:
    daemon, views = held
    fd = os.open(daemon.path(view), os.O_RDONLY)
    try:
        assert os.pread(fd, size, at) == views[view][at : at + size]
    finally:
        os.close(fd)


def test_a_held_file_that_is_cut_short(memory: Path) -> None:
    """Pages are touched before they are held: those that are gone are zeros, and are listed."""
    path = memory / "cut"
    whole = write_core(str(path))["vmcore"]
    with served(str(path), str(memory / "cut-mnt"), "reads=c,cache=none") as daemon:
        fd = os.open(daemon.path("vmcore"), os.O_RDONLY)
        try:
            assert os.pread(fd, MIB, MIB) == whole[MIB : 2 * MIB]
            os.truncate(path, MIB + 5 * PAGE)
            wanted = whole[MIB : MIB + 5 * PAGE] + bytes(MIB - 5 * PAGE)
            assert os.pread(fd, MIB, MIB) == wanted
        finally:
            os.close(fd)
        assert f"{MIB + 5 * PAGE:#x}" in Path(daemon.path("badpages")).read_text()


def test_a_whole_core_is_read_by_the_kernel(memory: Path) -> None:
    """The daemon reads nothing where the kernel has passthrough; the bytes are right anyway."""
    path = memory / "whole"
    write_core(str(path))
    with path.open("ab") as file:  # all that its headers speak of
        file.write(os.urandom(3 * MIB + PAGE))
    whole = path.read_bytes()
    with served(str(path), str(memory / "whole-mnt"), "reads=c,cache=pages") as daemon:
        before = read_so_far(daemon)
        with open(daemon.path("vmcore"), "rb") as one, open(daemon.path("vmcore"), "rb") as two:
            assert one.read() == whole
            assert os.pread(two.fileno(), 100, 70_000) == whole[70_000:70_100]
            with mmap.mmap(two.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ) as mapped:
                assert mapped[:] == whole
        with open(daemon.path("oldmem"), "rb") as other:
            assert other.read() == bytes(START) + whole[START:]
        if passes_through():
            assert read_so_far(daemon) - before < MIB


def passes_through() -> bool:
    """Whether this kernel has FUSE passthrough; it may be built without."""
    known = ("/proc/config.gz", f"/boot/config-{os.uname().release}")
    for path in known:
        if os.path.exists(path):
            import gzip

            opened = gzip.open if path.endswith(".gz") else open
            with opened(path, "rb") as file:
                return b"CONFIG_FUSE_PASSTHROUGH=y" in file.read()
    return False


def read_so_far(daemon: Daemon) -> int:
    """Bytes that the daemon has got by read(2) and its like, from files on tmpfs or any others."""
    text = Path(f"/proc/{daemon.process.pid}/io").read_text()
    return int(text.split("rchar: ")[1].split()[0])


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU: run it where there are two")
def test_short_reads_are_answered_on_the_readers_cpu(
    held: tuple[Daemon, dict[str, bytes]],
) -> None:
    daemon, views = held
    every = os.sched_getaffinity(0)
    for cpu in sorted(every)[:2]:
        os.sched_setaffinity(0, {cpu})
        try:
            fd = os.open(daemon.path("vmcore"), os.O_RDONLY)
            for i in range(300):
                assert os.pread(fd, PAGE, i * PAGE) == views["vmcore"][i * PAGE : (i + 1) * PAGE]
            assert {cpu} in allowed(daemon)
            os.pread(fd, MIB, 0)
            assert all(cpus == every for cpus in allowed(daemon))
            os.close(fd)
        finally:
            os.sched_setaffinity(0, every)


def allowed(daemon: Daemon) -> list[set[int]]:
    """The CPUs that each thread of the daemon may run on."""
    tasks = Path(f"/proc/{daemon.process.pid}/task").iterdir()
    return [os.sched_getaffinity(int(task.name)) for task in tasks]
