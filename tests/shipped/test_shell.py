# SPDX-License-Identifier: MIT
"""Every shell script: shellcheck has nothing to say, and dash can read it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from support.mounting import run

ROOT = Path(__file__).parents[2]
_SHELL = re.compile(r"#!.*/(?:ba|da)?sh\b|\n?# shellcheck shell=")


def scripts() -> list[Path]:
    """The files that begin like a shell script, whatever their name is."""
    found = []
    for folder in (".ci", "csrc", "examples", "tests"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and path.suffix not in (".py", ".pyc"):
                with path.open(errors="replace") as file:
                    if _SHELL.match(file.read(100)):
                        found.append(path)
    return found


def test_they_are_found() -> None:
    names = {str(path.relative_to(ROOT)) for path in scripts()}
    assert names >= {
        "examples/debian/kdump-tools", "examples/debian/setup.sh", "examples/setup.sh",
        "examples/dracut/99oldmemfs/save-vmcore.sh", "examples/initramfs-tools/hooks/oldmemfs",
        "examples/initramfs-tools/scripts/local-bottom/oldmemfs", "tests/run.sh",
    }  # fmt: skip


def test_shellcheck_is_content() -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("no shellcheck here: tests/run.sh installs it (apt-get install shellcheck)")
    done = run("shellcheck", *map(str, scripts()), timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", scripts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_shell_can_read_it(path: Path) -> None:
    shell = "bash" if "bash" in path.read_text().splitlines()[0] else "sh"
    done = run(shell, "-n", str(path))
    assert (done.returncode, done.stderr) == (0, "")
