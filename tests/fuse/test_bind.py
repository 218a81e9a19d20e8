# SPDX-License-Identifier: MIT
"""A view over another file: bound once it is served, gone with the mount, never a trap."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from support.image import HEADER, LOAD, NOTE, Blob, Segment, crashed, vmcore_of
from support.mounting import OLDMEMFS, PATIENCE, is_mounted, mounted, needs_mount, run, wait_until

from oldmemfs.errors import UsageError
from oldmemfs.options import Bind, parse

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

pytestmark = needs_mount
BEFORE = b"what was there before"


class Case:
    """A crashed image, a mount point and a file to be covered."""

    def __init__(self, tmp: Path) -> None:
        image = crashed([Segment(LOAD, 0x100000, 0x500000)], size=8 << 20)
        self.path = image.write(tmp / "ram.img")
        self.vmcore = vmcore_of(bytes(image.data), HEADER)
        self.mnt = tmp / "mnt"
        self.target = tmp / "a target"
        self.target.write_bytes(BEFORE)
        self.option = f"bind=vmcore:{self.target}"

    def bound(self) -> bool:
        """Whether something covers the target; asks no file system."""
        escaped = str(self.target).replace(" ", "\\040")
        with open("/proc/self/mountinfo") as mounts:
            return any(line.split()[4] == escaped for line in mounts)


@pytest.fixture(params=["c", "python"])
def case(tmp_path: Path, request: pytest.FixtureRequest) -> Case:
    case = Case(tmp_path)
    case.option += f",reads={request.param}"
    return case


def ended(daemon: subprocess.Popen[str]) -> tuple[int, str]:
    status = daemon.wait(PATIENCE)
    assert daemon.stderr is not None
    return status, daemon.stderr.read()


def test_the_view_is_there_and_umount_undoes_it(case: Case) -> None:
    with mounted(case.path, case.mnt, case.option) as daemon:
        wait_until(case.bound)
        assert case.target.stat().st_size == len(case.vmcore)
        assert case.target.read_bytes() == case.vmcore
        assert run("umount", str(case.mnt)).returncode == 0
        assert ended(daemon) == (0, "")
    assert not case.bound()
    assert case.target.read_bytes() == BEFORE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_undoes_it(case: Case, number: signal.Signals) -> None:
    with mounted(case.path, case.mnt, case.option) as daemon:
        wait_until(case.bound)
        daemon.send_signal(number)
        assert ended(daemon) == (0, "")
    assert not case.bound()
    assert case.target.read_bytes() == BEFORE


def test_without_the_bind_mount_the_rest_goes_on(case: Case) -> None:
    with mounted(case.path, case.mnt, case.option) as daemon:
        wait_until(case.bound)
        assert run("umount", str(case.target)).returncode == 0
        assert case.target.read_bytes() == BEFORE
        assert (case.mnt / "vmcore").read_bytes() == case.vmcore
        assert run("umount", str(case.mnt)).returncode == 0
        assert ended(daemon) == (0, "")


def test_a_reader_of_the_target_is_served_to_its_end(case: Case) -> None:
    with mounted(case.path, case.mnt, case.option) as daemon:
        wait_until(case.bound)
        with case.target.open("rb", buffering=0) as file:
            first = file.read(100_000)
            assert run("umount", str(case.mnt)).returncode == 0
            wait_until(lambda: not case.bound())
            rest = b"".join(iter(lambda: file.read(1 << 20), b""))
            assert first + rest == case.vmcore
            assert daemon.poll() is None
        assert ended(daemon) == (0, "")


def test_it_detaches_only_when_it_is_bound(case: Case) -> None:
    case.mnt.mkdir()
    done = run(*OLDMEMFS, case.path, str(case.mnt), "-o", case.option)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    try:
        assert case.bound()
        assert case.target.read_bytes() == case.vmcore
    finally:
        assert run("umount", str(case.mnt)).returncode == 0
    wait_until(lambda: not case.bound())


def test_a_view_that_cannot_be_built_is_not_bound(case: Case, tmp_path: Path) -> None:
    core = tmp_path / "core"
    blob = Blob([Segment(NOTE, 176, 12), Segment(LOAD, 0x1000, 0x1000, paddr=0x100000)])
    core.write_bytes(blob.pack().ljust(0x2000, b"x"))
    case.mnt.mkdir()
    option = f"bind=vmcoreinfo:{case.target}"
    done = run(*OLDMEMFS, str(core), str(case.mnt), "-o", option)
    assert done.returncode == 1
    assert "no VMCOREINFO note" in done.stderr.splitlines()[-1]
    assert not is_mounted(case.mnt)
    assert case.target.read_bytes() == BEFORE


@pytest.mark.parametrize(
    ("bind", "status", "told"),
    [
        ("nothing:/etc/passwd", 2, "no such view; there are vmcore, vmcore-kern"),
        ("vmcore:/absent/file", 1, "/absent/file: No such file or directory; the file must exist"),
        ("vmcore:/", 2, "/: not a regular file"),
    ],
)
def test_what_cannot_be_bound(case: Case, bind: str, status: int, told: str) -> None:
    case.mnt.mkdir()
    done = run(*OLDMEMFS, case.path, str(case.mnt), "-o", f"bind={bind}")
    assert done.returncode == status
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert not is_mounted(case.mnt)


def test_no_proc_vmcore_here(case: Case) -> None:
    if os.path.exists("/proc/vmcore"):
        pytest.skip("this is a capture kernel")
    case.mnt.mkdir()
    done = run(*OLDMEMFS, case.path, str(case.mnt), "-o", "bind=vmcore")
    assert done.returncode == 1
    assert "/proc/vmcore: No such file or directory; it is there only in a capture" in done.stderr


def test_a_killed_daemon_leaves_no_process_and_says_what_to_do(case: Case) -> None:
    with mounted(case.path, case.mnt, case.option) as daemon:
        wait_until(case.bound)
        daemon.kill()
        daemon.wait(PATIENCE)
        assert run("pgrep", "-g", str(os.getpgid(0)), "-f", case.option).stdout == ""
        other = case.mnt.with_name("other")
        other.mkdir()
        again = run(*OLDMEMFS, case.path, str(other), "-o", case.option)
        assert again.returncode == 1
        assert f"a daemon that died left it mounted: umount {case.target}" in again.stderr
        assert run("umount", str(case.target)).returncode == 0
    assert case.target.read_bytes() == BEFORE


def test_the_option() -> None:
    assert parse(["bind=vmcore"]).bind == Bind("vmcore", "/proc/vmcore")
    assert parse(["bind=by-level/31:/run/../run/x"]).bind == Bind("by-level/31", "/run/x")
    for wrong in ("bind=", "bind=:/x", "bind=vmcore:", "bind"):
        with pytest.raises(UsageError):
            parse([wrong])
