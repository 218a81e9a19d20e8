# SPDX-License-Identifier: MIT
"""The recipes of examples/save.md, those that need no other machine, run as they are written."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest
from support.image import LOAD, Segment, crashed
from support.mounting import mounted, needs_mount, run
from support.recipes import commands

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = needs_mount


def test_the_page_has_every_recipe() -> None:
    programs = {line.split()[0] for line in commands()}
    assert programs >= {"cp", "dd", "pv", "scp", "zstd", "rsync", "mount", "cmp"}


@pytest.mark.parametrize("program", ["cp", "dd", "pv", "rsync"])
def test_local_recipes(tmp_path: Path, program: str) -> None:
    if not shutil.which(program):
        pytest.skip(f"no {program} here: apt-get install {program}")
    path = crashed([Segment(LOAD, 0x100000, 0x500000)], size=8 << 20).write(tmp_path / "ram")
    mnt, crash = tmp_path / "mnt", tmp_path / "crash"
    crash.mkdir()
    lines = [c for c in commands() if c.startswith(f"{program} ") and "/mnt/nfs" not in c]
    assert lines
    with mounted(path, mnt):
        for line in lines:
            # This image has neither struct pages nor a log: other files stand for those.
            text = line.replace("root@backup:", "").replace("/var/crash", str(crash))
            text = re.sub(r"\$MNT/(dmesg|filter-report)", "$MNT/status", text)
            text = text.replace("vmcore-kern", "vmcore")
            text = text.replace("$MNT", str(mnt))
            done = run("sh", "-c", f"umask 077; {text}")
            assert done.returncode == 0, (text, done.stderr)
            if "vmcore" not in line:
                assert (crash / "status").stat().st_size > 100
                continue
            assert (crash / "vmcore").read_bytes() == (mnt / "vmcore").read_bytes(), text
            assert (crash / "vmcore").stat().st_mode & 0o077 == 0
            (crash / "vmcore").unlink()
