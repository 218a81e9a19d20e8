# SPDX-License-Identifier: MIT
"""Faults of the machine around a mount: bad sectors, no space, little memory, a changing image.

Each row of docs/evidence.md's table of faults that nothing else covers.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.crash import Crash, Model
from support.crash_arch import X86_64
from support.image import HEADER, LOAD, NOTES, Segment, crashed, vmcore_of
from support.mounting import (
    ENVIRONMENT,
    OLDMEMFS,
    PATIENCE,
    is_mounted,
    mounted,
    needs_mount,
    run,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs_mount
PAGE = 4096
START = 0x100000  # of the one PT_LOAD
WHERE = f"elfcorehdr={HEADER:#x}"
NOBODY = 65534


@contextlib.contextmanager
def bad_sectors(path: str, directory: Path, *bad: tuple[int, int]) -> Iterator[str]:
    """The same file on a file system that gives EIO for some of it."""
    directory.mkdir()
    program = Path(__file__).parents[1] / "support/errfs.py"
    words = [f"{start:x}-{end:x}" for start, end in bad]
    command = [sys.executable, str(program), path, str(directory), *words]
    with subprocess.Popen(command, env=ENVIRONMENT) as server:
        try:
            wait_until(lambda: os.path.ismount(directory) or server.poll() is not None)
            yield str(directory / "image")
        finally:
            run("umount", "-l", str(directory))
            server.wait(PATIENCE)


@pytest.fixture
def image(tmp_path: Path) -> tuple[str, bytes]:
    """An image of 4 MiB and its vmcore."""
    made = crashed([Segment(LOAD, START, 0x200000)], size=4 << 20)
    return made.write(tmp_path / "ram.img"), vmcore_of(bytes(made.data), HEADER)


@pytest.mark.parametrize("reads", ["c", "python"])
def test_bad_sectors_read_as_zeros_and_are_listed(
    image: tuple[str, bytes], tmp_path: Path, reads: str
) -> None:
    path, vmcore = image
    at = START + 7 * PAGE
    inside = len(vmcore) - 0x200000 + 7 * PAGE
    with bad_sectors(path, tmp_path / "disk", (at, at + 2 * PAGE)) as source:
        with mounted(source, tmp_path / "mnt", f"{WHERE},reads={reads}"):
            got = (tmp_path / "mnt/vmcore").read_bytes()
            listed = (tmp_path / "mnt/badpages").read_text()
        with (
            mounted(source, tmp_path / "mnt", f"{WHERE},reads={reads},strict"),
            (tmp_path / "mnt/vmcore").open("rb", buffering=0) as file,
        ):
            assert os.pread(file.fileno(), PAGE, inside - PAGE) == vmcore[inside - PAGE : inside]
            with pytest.raises(OSError, match="Input/output error"):
                os.pread(file.fileno(), PAGE, inside)
    assert got == vmcore[:inside] + bytes(2 * PAGE) + vmcore[inside + 2 * PAGE :]
    assert f"{at:#x}" in listed
    assert f"{2 * PAGE:#018x}" in listed


@pytest.mark.parametrize("at", [HEADER, NOTES])
def test_bad_sectors_in_the_header_or_the_notes_are_one_line(
    image: tuple[str, bytes], tmp_path: Path, at: int
) -> None:
    path, _ = image
    mnt = tmp_path / "mnt"
    mnt.mkdir()
    with bad_sectors(path, tmp_path / "disk", (at, at + PAGE)) as source:
        done = run(*OLDMEMFS, source, str(mnt), "-o", WHERE)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "cannot be read" in done.stderr
    assert not is_mounted(mnt)


def test_bad_sectors_in_struct_pages_keep_their_pages(tmp_path: Path) -> None:
    crash = Crash(X86_64, Model.VMEMMAP, fill={"flags": 1})
    crash.lines |= {"NUMBER(PG_hwpoison)": "22"}
    header = tmp_path / "header"
    header.write_bytes(crash.elfcorehdr(2))
    at = crash.struct_phys(crash.ranges[0][0] // PAGE + 0x1000) & -PAGE
    ram = f"/proc/{os.getpid()}/fd/{crash.ram.fd}"
    with (
        bad_sectors(ram, tmp_path / "disk", (at, at + PAGE)) as source,
        mounted(source, tmp_path / "mnt", f"elfcorehdr={header}"),
    ):
        assert (tmp_path / "mnt/vmcore-kern").stat().st_size
        report = (tmp_path / "mnt/filter-report").read_text()
    assert "64 pages are kept: their struct page cannot be read" in report


@contextlib.contextmanager
def tmpfs(directory: Path, size: str) -> Iterator[Path]:
    """A small tmpfs."""
    directory.mkdir()
    assert run("mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(directory)).returncode == 0
    try:
        yield directory
    finally:
        run("umount", "-l", str(directory))


def test_a_full_tmpfs(image: tuple[str, bytes], tmp_path: Path) -> None:
    """Nothing is written by the mount: it starts and serves where nothing can be; cp tells."""
    path, vmcore = image
    with tmpfs(tmp_path / "full", "64k") as full:
        (full / "mnt").mkdir()
        with contextlib.suppress(OSError), (full / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(PAGE))
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(ENVIRONMENT, "TMPDIR", str(full))
            with mounted(path, full / "mnt", WHERE):
                done = run("cp", str(full / "mnt/vmcore"), str(full / "copy"))
                assert done.returncode == 1
                assert "No space left on device" in done.stderr
                assert (full / "mnt/vmcore").read_bytes() == vmcore


class Group:
    """A cgroup with a limit of memory, of version 1 or 2."""

    def __init__(self, limit: int) -> None:
        name = f"oldmemfs-test-{os.getpid()}"
        one, two = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
        top, key = (one, "memory.limit_in_bytes") if one.is_dir() else (two, "memory.max")
        self.path = top / name
        try:
            self.path.mkdir()
            (self.path / key).write_text(str(limit))
        except OSError as error:
            with contextlib.suppress(OSError):
                self.path.rmdir()
            pytest.skip(f"no cgroup with a limit of memory can be made here: {error}")

    def start(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside."""
        script = 'echo $$ > "$0"/cgroup.procs && exec "$@"'
        return run("env", *_variables(), "sh", "-c", script, str(self.path), *words)

    def remove(self) -> None:
        """It must be empty."""

        def gone() -> bool:
            with contextlib.suppress(OSError):
                self.path.rmdir()
            return not self.path.exists()

        wait_until(gone)


def _variables() -> list[str]:
    return [f"LD_PRELOAD={ENVIRONMENT['LD_PRELOAD']}"] if "LD_PRELOAD" in ENVIRONMENT else []


@pytest.fixture
def group(request: pytest.FixtureRequest) -> Iterator[Group]:
    made = Group(request.param)
    yield made
    made.remove()


@pytest.mark.parametrize("group", [64 << 20], indirect=True)
def test_a_cgroup_of_64_mib_serves_everything(group: Group, tmp_path: Path) -> None:
    crash = Crash(X86_64, Model.VMEMMAP, fill={"flags": 1})
    header, mnt = tmp_path / "header", tmp_path / "mnt"
    header.write_bytes(crash.elfcorehdr(2))
    mnt.mkdir()
    source = f"/proc/{os.getpid()}/fd/{crash.ram.fd}"
    try:
        done = group.start(*OLDMEMFS, source, str(mnt), "-o", f"elfcorehdr={header}")
        assert (done.returncode, done.stderr) == (0, "")
        for name in ("vmcore-kern", "vmcore", "summary", "status"):
            with (mnt / name).open("rb") as file:
                assert len(file.read(1 << 20))
    finally:
        run("umount", str(mnt))


@pytest.mark.parametrize("group", [6 << 20], indirect=True)
def test_a_cgroup_that_is_too_small_leaves_no_mount(
    group: Group, image: tuple[str, bytes], tmp_path: Path
) -> None:
    """The kernel ends the program before it has mounted anything, and cp finds no file."""
    mnt = tmp_path / "mnt"
    mnt.mkdir()
    done = group.start(*OLDMEMFS, image[0], str(mnt), "-o", WHERE)
    assert done.returncode != 0
    assert not is_mounted(mnt)


@pytest.mark.parametrize("cache", ["none", "pages"])
def test_an_image_that_changes_under_the_mount(
    image: tuple[str, bytes], tmp_path: Path, cache: str
) -> None:
    """Without the page cache the next read has the new bytes; with it, what was read stays."""
    path, old = image
    first = len(old) - 0x200000
    new = old[:first] + b"\1" * PAGE + old[first + PAGE :]
    with mounted(path, tmp_path / "mnt", f"{WHERE},cache={cache}"):
        name = tmp_path / "mnt/vmcore"
        with name.open("rb", buffering=0) as file:
            assert os.pread(file.fileno(), PAGE, first) == old[first : first + PAGE]
            with open(path, "r+b") as ram:
                ram.seek(START)
                ram.write(b"\1" * PAGE)
            got = os.pread(file.fileno(), PAGE, first)
        whole = name.read_bytes()
    if cache == "none":
        assert (got, whole) == (b"\1" * PAGE, new)
    else:  # the kernel may drop a cached page whenever it likes
        assert got in (old[first : first + PAGE], b"\1" * PAGE)
        assert whole in (old, new)


@pytest.mark.parametrize("cache", ["none", "pages"])
@pytest.mark.parametrize("reads", ["c", "python"])
def test_an_image_that_is_cut_off_under_the_mount(
    image: tuple[str, bytes], tmp_path: Path, cache: str, reads: str
) -> None:
    """What is gone reads as zeros and is listed; the daemon lives."""
    path, vmcore = image
    first = len(vmcore) - 0x200000
    left = 0x80000
    with mounted(path, tmp_path / "mnt", f"{WHERE},cache={cache},reads={reads}") as daemon:
        os.truncate(path, START + left)
        got = (tmp_path / "mnt/vmcore").read_bytes()
        assert got == vmcore[: first + left] + bytes(0x200000 - left)
        assert f"{START + left:#x}" in (tmp_path / "mnt/badpages").read_text()
        assert daemon.poll() is None


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter; pytest's own are closed."""
    with tempfile.TemporaryDirectory(prefix="oldmemfs-test-") as name:
        os.chmod(name, 0o755)
        for parent in Path(name).parents:
            if not parent.stat().st_mode & stat.S_IXOTH:
                pytest.skip(f"{parent} is closed to others: name an open folder in TMPDIR")
        yield Path(name)


def test_an_unprivileged_mount(image: tuple[str, bytes], open_folder: Path) -> None:
    """By nobody, through fusermount3: closed to everybody else, root too; umount ends it."""
    path, mnt = shutil.copy(image[0], f"{open_folder}/ram.img"), open_folder / "mnt"
    os.chmod(path, 0o444)
    mnt.mkdir()
    os.chown(mnt, NOBODY, NOBODY)
    as_nobody = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    if run(*as_nobody, *OLDMEMFS, "--version").returncode:
        pytest.skip(f"{sys.executable} is closed to others: install it where nobody may run it")
    done = run(*as_nobody, *OLDMEMFS, path, str(mnt), "-o", WHERE)
    try:
        assert (done.returncode, done.stderr) == (0, "")
        assert is_mounted(mnt)
        copy = run(*as_nobody, "sha256sum", str(mnt / "vmcore"))
        assert copy.stdout.split()[:1] == [hashlib.sha256(image[1]).hexdigest()], copy.stderr
        with pytest.raises(PermissionError):
            os.listdir(mnt)
        assert run(*as_nobody, "fusermount3", "-u", str(mnt)).returncode == 0
    finally:
        run("umount", "-l", str(mnt))
    assert not is_mounted(mnt)
