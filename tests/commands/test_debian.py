# SPDX-License-Identifier: MIT
"""--setup-debian is the installed script, with the words that were given."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest
from support.mounting import OLDMEMFS, run

from oldmemfs.commands import debian
from oldmemfs.errors import OldmemError

SHIPPED = Path(__file__).parents[2] / "examples/debian/setup.sh"


def test_it_is_the_installed_script() -> None:
    told = run(*OLDMEMFS, "--setup-debian", "--help")
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout == run("sh", str(SHIPPED), "--help").stdout != ""
    for line in told.stdout.splitlines()[1:3]:
        assert line.startswith("oldmemfs --setup-debian ")


def test_its_errors_name_the_command_that_was_typed() -> None:
    told = run(*OLDMEMFS, "--setup-debian", "dmesg")
    assert told.returncode == 2
    assert told.stderr == (
        "oldmemfs --setup-debian: dmesg: the view to save is vmcore-kern or vmcore; "
        "--help shows what else there is\n"
    )


def test_without_the_script_it_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In an initramfs, say, where only the program is."""
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(OldmemError, match=r"setup\.sh is missing: install oldmemfs again"):
        debian.main(["--remove"])
