# SPDX-License-Identifier: MIT
"""The core_collector of the dracut module, without a machine: each failure."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.staged import EIO, UNBIND, Stage, bind

SCRIPT = Path(__file__).parents[2] / "examples/dracut/99oldmemfs/save-vmcore.sh"
REPORTS = {name: f"our {name}" for name in ("summary", "status", "filter-report", "badpages")}


class Dracut(Stage):
    """What the script finds in an initramfs of dracut."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.crash = root / "crash"
        self.crash.mkdir()
        self.write("proc/mounts", "none / ext4 rw 0 0\n")
        self.write("proc/vmcore", "the true vmcore")
        self.stub("umount", does=UNBIND.format(root=root))
        self.stub("makedumpfile", does='sed "s/^/made of /" "$4" >"$5"')

    def bind(self, text: str) -> None:
        """Our view, or what cannot be read, over /proc/vmcore."""
        bind(self, text)
        for name, report in REPORTS.items():
            self.write(f"run/oldmemfs/{name}", report)

    def save(self, status: int = 0) -> dict[str, str]:
        """What is in the dump's folder afterwards."""
        source, target = self.root / "proc/vmcore", self.crash / "vmcore-incomplete"
        done = self.run("sh", self.script(SCRIPT), source, target)
        assert done.returncode == status, done.stderr
        for path in self.crash.iterdir():
            assert path.stat().st_mode & 0o077 == 0
        return {path.name: path.read_text() for path in self.crash.iterdir()}


@pytest.fixture
def dracut(tmp_path: Path) -> Dracut:
    return Dracut(tmp_path)


def test_the_view_is_copied(dracut: Dracut) -> None:
    dracut.bind("our vmcore-kern")
    assert dracut.save() == {**REPORTS, "vmcore-incomplete": "our vmcore-kern"}
    assert dracut.calls() == []


def test_without_the_mount_makedumpfile_filters(dracut: Dracut) -> None:
    saved = dracut.save()
    assert saved["vmcore-incomplete"] == "made of the true vmcore"
    assert set(saved) == {"vmcore-incomplete", "lost"}


def test_a_view_that_cannot_be_read(dracut: Dracut) -> None:
    dracut.bind(EIO)
    saved = dracut.save()
    assert saved["vmcore-incomplete"] == "made of the true vmcore"
    assert "Input/output error" in saved["lost"]
    assert dracut.calls()[0] == "umount -l /proc/vmcore"


def test_without_makedumpfile_all_is_copied(dracut: Dracut) -> None:
    dracut.bind(EIO)
    dracut.stub("makedumpfile", does="echo half >$5; exit 1")
    saved = dracut.save()
    assert saved["vmcore-incomplete"] == "the true vmcore"
    assert "is not filtered" in saved["lost"]


def test_nothing_can_be_read(dracut: Dracut) -> None:
    dracut.bind(EIO)
    dracut.link("proc/true", EIO)
    dracut.stub("makedumpfile", does="exit 1")
    saved = dracut.save(status=1)
    assert "vmcore-incomplete is not complete" in saved["lost"]
    assert set(saved) >= set(REPORTS)


def test_a_full_disk_is_not_filled_again(dracut: Dracut) -> None:
    dracut.bind("our vmcore-kern")
    (dracut.crash / "vmcore-incomplete").symlink_to("/dev/full")
    (dracut.crash / "lost").touch(mode=0o600)
    source, target = dracut.root / "proc/vmcore", dracut.crash / "vmcore-incomplete"
    done = dracut.run("sh", dracut.script(SCRIPT), source, target)
    assert done.returncode == 1
    assert "No space left on device" in (dracut.crash / "lost").read_text()
    assert dracut.calls() == []


def test_a_report_that_cannot_be_read_is_noted(dracut: Dracut) -> None:
    dracut.bind("our vmcore-kern")
    dracut.link("run/oldmemfs/filter-report", EIO)
    assert "filter-report is not saved" in dracut.save()["lost"]


def test_without_a_target(dracut: Dracut) -> None:
    """As kdump.sh calls it for ssh."""
    done = dracut.run("sh", dracut.script(SCRIPT), "/proc/vmcore")
    assert done.returncode == 2
    assert "core_collector scp" in done.stderr
