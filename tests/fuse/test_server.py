# SPDX-License-Identifier: MIT
"""Reads answered in C beside reads answered in Python: the same bytes, and no end that hangs."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.mounting import OLDMEMFS, PATIENCE, needs_mount
from support.served import DATA, LOST, MIB, PAGE, START, Daemon, served, write_core

from oldmemfs.fuse import mount, server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = needs_mount
WAYS = {
    "c": "reads=c",
    "c-cached": "reads=c,cache=pages",
    "python": "reads=python",
    "python-cached": "reads=python,cache=pages",
}
END = START + DATA + LOST
HOLE = START + DATA


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, bytes]]:
    path = str(tmp_path_factory.mktemp("core") / "core")
    return path, write_core(path)


@pytest.fixture(scope="module")
def all_ways(
    core: tuple[str, dict[str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Daemon]]:
    work = tmp_path_factory.mktemp("ways")
    with contextlib.ExitStack() as stack:
        yield {
            way: stack.enter_context(served(core[0], str(work / way), options))
            for way, options in WAYS.items()
        }


@pytest.fixture
def daemon(core: tuple[str, dict[str, bytes]], tmp_path: Path) -> Iterator[Daemon]:
    with served(core[0], str(tmp_path / "mount"), "reads=c") as made:
        yield made


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def edges() -> st.SearchStrategy[int]:
    """Offsets near those where something changes, and any others."""
    near = st.sampled_from([0, START, HOLE, END, MIB, 2 * MIB, HOLE + MIB])
    return st.one_of(
        st.builds(lambda at, by: max(at + by, 0), near, st.integers(-9000, 9000)),
        st.integers(0, END + 3 * MIB),
    )


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["vmcore", "oldmem"]), edges(), st.integers(1, 3 * MIB))
@example("vmcore", HOLE - MIB, 2 * MIB)
@example("oldmem", END - 1, 2)
def test_every_way_gives_the_same_bytes(
    core: tuple[str, dict[str, bytes]], all_ways: dict[str, Daemon], view: str, at: int, size: int
) -> None:
    wanted = core[1][view][at : at + size]
    for way, made in all_ways.items():
        with opened(made.path(view)) as fd:
            got = b""
            while len(got) < size and (more := os.pread(fd, size - len(got), at + len(got))):
                got += more
            assert got == wanted, way
            if at < END:
                with mmap.mmap(fd, END, mmap.MAP_PRIVATE, mmap.PROT_READ) as mapped:
                    assert mapped[at : at + size] == wanted, way


def test_every_way_finds_the_same_bad_pages(
    core: tuple[str, dict[str, bytes]], tmp_path: Path
) -> None:
    told = set()
    for way, options in WAYS.items():
        with served(core[0], str(tmp_path / way), options) as made:
            with opened(made.path("badpages")) as fd:
                assert os.read(fd, 4096) == b"no unreadable memory so far\n"
            for view in ("vmcore", "oldmem"):
                with opened(made.path(view)) as fd:
                    while os.read(fd, 300_000):
                        pass
            with open(made.path("badpages")) as file:
                told.add(file.read())
            subprocess.run(["umount", made.directory], check=True)
            status, said = made.end()
        assert status == 0
        warnings = [line for line in said.splitlines() if "cannot be read; see badpages" in line]
        assert len(warnings) == 2, said
    assert len(told) == 1
    assert f"{HOLE:#x}" in told.pop()


@pytest.mark.parametrize("reads", ["c", "python"])
def test_strict_fails_exactly_what_touches_the_hole(
    core: tuple[str, dict[str, bytes]], tmp_path: Path, reads: str
) -> None:
    options = f"strict,reads={reads}"
    with (
        served(core[0], str(tmp_path / "mount"), options) as made,
        opened(made.path("vmcore")) as fd,
    ):
        assert os.pread(fd, MIB, HOLE - MIB) == core[1]["vmcore"][HOLE - MIB : HOLE]
        for at, size in ((HOLE - 1, 2), (HOLE, 1), (END - 1, 1), (END - 1, PAGE)):
            with pytest.raises(OSError, match="Input/output error"):
                os.pread(fd, size, at)
        # Only a request of a whole MiB fails as a whole: smaller ones would give what precedes.
        at = HOLE + PAGE - MIB
        with pytest.raises(OSError, match="Input/output error"):
            os.pread(fd, MIB, at)
        assert os.pread(fd, PAGE, END) == b""
        assert os.pread(fd, PAGE, 0) == core[1]["vmcore"][:PAGE]


def test_an_image_cut_off_while_mounted_reads_as_zeros(tmp_path: Path) -> None:
    path = str(tmp_path / "core")
    whole = write_core(path)["vmcore"]
    cut = START + 2 * MIB + 1000
    with (
        served(path, str(tmp_path / "mount"), "reads=c") as made,
        opened(made.path("vmcore")) as fd,
    ):
        assert os.pread(fd, MIB, cut - 1000) == whole[cut - 1000 : cut - 1000 + MIB]
        os.truncate(path, cut)
        assert os.pread(fd, PAGE, cut - PAGE) == whole[cut - PAGE : cut]
        assert os.pread(fd, MIB, cut - 100) == whole[cut - 100 : cut] + bytes(MIB - 100)
        with open(made.path("badpages")) as file:
            assert f" vmcore       {cut:#x}\n" in file.read()


# -- ends -------------------------------------------------------------------------------------


@contextlib.contextmanager
def reading(path: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that reads for ever; 9 once it has met an error."""
    program = f"""
import os
fd = os.open({path!r}, os.O_RDONLY)
print(flush=True)
try:
    while True:
        os.pread(fd, 1 << 20, 4096)
except OSError:
    os._exit(9)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as reader:
        try:
            assert reader.stdout is not None
            assert reader.stdout.readline() == b"\n"
            yield reader
        finally:
            reader.kill()


def ended_well(daemon: Daemon) -> bool:
    """Exit status 0, and nothing said but what is so of the core itself."""
    status, said = daemon.end()
    odd = [line for line in said.splitlines() if "truncated: its headers" not in line]
    return status == 0 and not [x for x in odd if "old memory that cannot be read" not in x]


def test_umount_ends_it_cleanly(daemon: Daemon) -> None:
    with reading(daemon.path("vmcore")) as reader:
        assert subprocess.run(["umount", daemon.directory], capture_output=True).returncode != 0
        subprocess.run(["umount", "-l", daemon.directory], check=True)
        time.sleep(0.2)
        assert reader.poll() is None, "a reader of a mount that is detached reads on"
        assert daemon.process.poll() is None
    assert ended_well(daemon)


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_unmounts_and_no_reader_hangs(daemon: Daemon, signal_number: int) -> None:
    with reading(daemon.path("vmcore")) as reader:
        daemon.process.send_signal(signal_number)
        assert ended_well(daemon)
        assert not daemon.is_mounted()
        assert reader.wait(PATIENCE) == 9


def test_a_signal_ends_a_mount_that_is_detached_but_read(daemon: Daemon) -> None:
    with reading(daemon.path("vmcore")) as reader:
        subprocess.run(["umount", "-l", daemon.directory], check=True)
        daemon.process.terminate()
        assert ended_well(daemon)
        assert reader.wait(PATIENCE) == 9


def test_a_mount_is_found_whatever_its_name(
    core: tuple[str, dict[str, bytes]], tmp_path: Path
) -> None:
    directory = str(tmp_path / "a b\t\\\u00e4")
    with served(core[0], directory, "reads=c") as made:
        made.process.terminate()
        assert ended_well(made)
        assert not made.is_mounted()


def test_a_signal_does_not_unmount_what_was_mounted_on_top(daemon: Daemon) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "none", daemon.directory], check=True)
    try:
        daemon.process.terminate()
        assert ended_well(daemon)
        with open("/proc/self/mountinfo", errors="replace") as file:
            assert any(f" {daemon.directory} " in x and " tmpfs " in x for x in file)
    finally:
        subprocess.run(["umount", daemon.directory], check=True)


def test_kill_leaves_readers_with_an_error(daemon: Daemon) -> None:
    with reading(daemon.path("vmcore")) as reader:
        daemon.process.kill()
        assert reader.wait(PATIENCE) == 9
    daemon.process.wait(PATIENCE)
    with pytest.raises(OSError, match="not connected") as caught:
        os.open(daemon.path("status"), os.O_RDONLY)
    assert caught.value.errno == errno.ENOTCONN


def test_a_crash_of_the_python_side_unmounts(
    core: tuple[str, dict[str, bytes]], tmp_path: Path
) -> None:
    script = tmp_path / "broken.py"
    script.write_text(
        "from oldmemfs import cli; from oldmemfs.fuse import filesystem\n"
        "async def broken(self, ctx):\n    raise RuntimeError('broken for a test')\n"
        "filesystem.Filesystem.statfs = broken\n"
        "raise SystemExit(cli.main())\n"
    )
    directory = str(tmp_path / "mount")
    with (
        served(core[0], directory, "reads=c", str(script)) as made,
        reading(made.path("vmcore")) as reader,
    ):
        with pytest.raises(OSError, match=r".*"):
            os.statvfs(made.directory)
        status, said = made.end()
        assert status != 0
        assert "broken for a test" in said
        assert reader.wait(PATIENCE) == 9
        assert not made.is_mounted()


def test_in_the_background_it_serves_when_the_parent_ends(
    core: tuple[str, dict[str, bytes]], tmp_path: Path
) -> None:
    command = [*OLDMEMFS, core[0], str(tmp_path), "-o", "reads=c"]
    subprocess.run(command, check=True, timeout=PATIENCE)
    try:
        with open(tmp_path / "vmcore", "rb") as file:
            assert file.read() == core[1]["vmcore"]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_without_the_privilege_python_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "DEVICE", str(tmp_path / "fuse"))
    manner = mount.MountSettings(
        strict=False, direct_io=True, allow=frozenset(), in_c=True, debug=False, name="x"
    )
    before = os.listdir("/proc/self/fd")
    assert mount._own_mount(str(tmp_path), manner) is None
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "reads are answered in Python" in caplog.text
    assert os.listdir("/proc/self/fd") == before
