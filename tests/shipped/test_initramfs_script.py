# SPDX-License-Identifier: MIT
"""The initramfs-tools script, without a machine: whatever fails, the next best is saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.mounting import needs_root, run
from support.staged import EIO, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).parents[2] / "examples/initramfs-tools/scripts/local-bottom/oldmemfs"
FILES = ("summary", "dmesg", "vmcore-kern", "vmcore", "status", "filter-report", "badpages")
SAVED = {name for name in FILES if name != "vmcore"}


class Initramfs(Stage):
    """What the script finds: a command line, /proc/vmcore, and an oldmemfs that serves."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.write("proc/vmcore", "the true vmcore")
        self.write("proc/cmdline", "root=/dev/vda oldmemfs.save ro\n")
        self.write("scripts/functions", 'log_begin_msg() { echo "$1"; }\nlog_end_msg() { :; }\n')
        (self.root / "root").mkdir()
        self.served = {name: f"our {name}" for name in FILES}
        self.stub("modprobe", "umount", "mount", "reboot")

    def start(self, *, fails: bool = False) -> str:
        """Run the script; what it said on the console."""
        for name, text in self.served.items():
            if text == EIO:
                self.link(f"served/{name}", EIO)
            else:
                self.write(f"served/{name}", text)
        serve = f'cp -P {self.root}/served/* "$1"/'
        if fails:
            serve = "echo oldmemfs: no /dev/fuse here >&2; exit 1"
        self.stub("oldmemfs", does=f'[ "$1" != --info ] || exec echo told by --info\n{serve}')
        done = self.run("sh", self.script(SCRIPT), rootmnt=str(self.root / "root"))
        assert done.returncode == 0, done.stderr
        assert self.calls()[-1] == "reboot -f"
        return done.stdout + done.stderr

    def saved(self, folder: str = "var/crash") -> dict[str, str]:
        """What is on the disk, by name."""
        (place,) = (self.root / "root" / folder).iterdir()
        assert place.stat().st_mode & 0o077 == 0
        return {path.name: path.read_text() for path in place.iterdir()}


@pytest.fixture
def initramfs(tmp_path: Path) -> Initramfs:
    return Initramfs(tmp_path)


def test_all_is_well(initramfs: Initramfs) -> None:
    initramfs.start()
    assert initramfs.saved() == {name: f"our {name}" for name in SAVED}
    calls = [call for call in initramfs.calls() if call.startswith(("mount", "umount"))]
    assert calls == ["mount -o remount,rw /root", "umount /run/oldmemfs",
                     "mount -o remount,ro /root"]  # fmt: skip


def test_the_folder_that_is_asked_for(initramfs: Initramfs) -> None:
    initramfs.write("proc/cmdline", "oldmemfs.save=/srv/dumps\n")
    initramfs.start()
    assert set(initramfs.saved("srv/dumps")) == SAVED


@pytest.mark.parametrize("missing", ["proc/vmcore", "proc/cmdline"])
def test_not_a_crash_or_not_asked_for(initramfs: Initramfs, missing: str) -> None:
    """A normal boot goes on, untouched."""
    if missing == "proc/vmcore":
        (initramfs.root / missing).unlink()
    else:
        initramfs.write(missing, "root=/dev/vda ro\n")
    done = initramfs.run("sh", initramfs.script(SCRIPT), rootmnt=str(initramfs.root / "root"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert initramfs.calls() == []


def test_the_mount_fails(initramfs: Initramfs) -> None:
    initramfs.start(fails=True)
    saved = initramfs.saved()
    assert saved["vmcore"] == "the true vmcore"
    assert saved["summary"] == "told by --info\n"
    assert saved["lost"] == "it does not serve: oldmemfs: no /dev/fuse here\n"
    assert set(saved) == {"vmcore", "summary", "lost"}
    assert "umount /run/oldmemfs" not in initramfs.calls()


def test_vmcore_kern_cannot_be_read(initramfs: Initramfs) -> None:
    initramfs.served["vmcore-kern"] = initramfs.served["filter-report"] = EIO
    told = initramfs.start()
    saved = initramfs.saved()
    assert saved["vmcore"] == "our vmcore"
    assert set(saved) == SAVED - {"vmcore-kern", "filter-report"} | {"vmcore", "lost"}
    first, second = saved["lost"].splitlines()
    assert "/vmcore-kern is not saved: " in first
    assert first.endswith("Input/output error")
    assert "/filter-report is not saved: " in second
    assert first in told


def test_nothing_in_the_mount_can_be_read(initramfs: Initramfs) -> None:
    """A daemon that died, say."""
    initramfs.served = dict.fromkeys(FILES, EIO)
    initramfs.start()
    saved = initramfs.saved()
    assert saved["vmcore"] == "the true vmcore"
    assert set(saved) == {"vmcore", "lost"}
    assert len(saved["lost"].splitlines()) == len(FILES)


def test_no_core_can_be_read(initramfs: Initramfs) -> None:
    """The log is what is left."""
    initramfs.served["vmcore-kern"] = initramfs.served["vmcore"] = EIO
    initramfs.link("proc/vmcore", EIO)
    initramfs.start()
    saved = initramfs.saved()
    assert set(saved) == SAVED - {"vmcore-kern"} | {"lost"}
    assert saved["dmesg"] == "our dmesg"
    assert len(saved["lost"].splitlines()) == 3


@pytest.mark.parametrize("fails", [False, True])
def test_the_disk_cannot_be_written(initramfs: Initramfs, fails: bool) -> None:
    """The log goes to the console."""
    initramfs.stub("mount", does="exit 32")
    told = initramfs.start(fails=fails)
    assert "nothing is saved: " in told
    assert ("told by --info" if fails else "our summaryour dmesg") in told
    assert list((initramfs.root / "root").iterdir()) == []


@pytest.fixture
def small_disk(initramfs: Initramfs) -> Iterator[None]:
    disk = str(initramfs.root / "root")
    assert run("mount", "-t", "tmpfs", "-o", "size=1m", "none", disk).returncode == 0
    yield
    assert run("umount", "-l", disk).returncode == 0


@needs_root
@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_keeps_what_fits(initramfs: Initramfs) -> None:
    """The whole vmcore would fit even less: it is not tried, and does not replace the part."""
    initramfs.served["vmcore-kern"] = "x" * (2 << 20)
    initramfs.start()
    saved = initramfs.saved()
    assert saved["dmesg"] == "our dmesg"
    assert "vmcore" not in saved
    assert set(saved) == SAVED - {"vmcore-kern"} | {"vmcore-kern.part", "lost"}
    assert "No space left on device" in saved["lost"]
    part = saved["vmcore-kern.part"]
    assert len(part) > 100_000
    assert set(part) == {"x"}
