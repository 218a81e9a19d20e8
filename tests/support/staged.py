# SPDX-License-Identifier: MIT
"""A shell script of examples/, run outside the system that it is for.

The folders that it names (/proc, /etc, ...) are replaced by folders of the test, and the programs
that would change a system by stubs that write down how they were called.
"""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

from support.mounting import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

EIO = "/proc/self/mem"  # read from its beginning, it gives "Input/output error"
# What the stub of umount does, after bind().
UNBIND = """rm {root}/proc/vmcore
mv {root}/proc/true {root}/proc/vmcore
: >{root}/proc/mounts"""
_FOLDERS = re.compile(r"(?<![\w}.])/(?=(?:etc|proc|run|scripts|usr/local)/)")


class Stage:
    """A folder that stands for "/", with stubs in PATH before this system's programs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._bin = root / "stubs"
        self._bin.mkdir()
        self._calls = root / "calls"
        self._calls.touch()

    def write(self, path: str, text: str) -> Path:
        """A file below our "/"."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target

    def link(self, path: str, to: str) -> None:
        """A symbolic link below our "/"."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.symlink_to(to)

    def script(self, source: Path) -> Path:
        """A copy of a script that names our folders."""
        text = _FOLDERS.sub(f"{self.root}/", source.read_text())
        return self.write(f"scripts-under-test/{source.name}", text)

    def stub(self, *names: str, does: str = "") -> None:
        """Programs that write down how they were called, and then do this."""
        for name in names:
            program = self._bin / name
            program.write_text(f'#!/bin/sh\necho "{name} $*" >>{self._calls}\n{does}\n')
            program.chmod(0o755)

    def calls(self) -> list[str]:
        """How the stubs were called, our folder left out."""
        return self._calls.read_text().replace(str(self.root), "").splitlines()

    def run(self, *words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command with the stubs in PATH."""
        path = f"{self._bin}:{os.environ['PATH']}"
        return subprocess.run(
            words, env={"PATH": path, **environment}, capture_output=True, text=True,
            timeout=PATIENCE, check=False, errors="replace",
        )  # fmt: skip


def bind(stage: Stage, text: str) -> None:
    """A view, or what cannot be read, in the place of /proc/vmcore."""
    (stage.root / "proc/vmcore").rename(stage.root / "proc/true")
    stage.write("proc/mounts", f"oldmemfs {stage.root}/proc/vmcore fuse.oldmemfs ro 0 0\n")
    if text == EIO:
        stage.link("proc/vmcore", EIO)
    else:
        stage.write("proc/vmcore", text)
