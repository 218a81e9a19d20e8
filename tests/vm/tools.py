# SPDX-License-Identifier: MIT
"""Host programs: which are missing, and how they are run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Program -> the Debian package that has it.
PROGRAMS: Mapping[str, str] = {
    "apt-cache": "apt",
    "apt-get": "apt",
    "busybox": "busybox-static",
    "cpio": "cpio",
    "dpkg-deb": "dpkg",
    "kexec": "kexec-tools",
    "ldd": "libc-bin",
    "mount": "mount",
    "mount.fuse3": "fuse3",
    "qemu-system-x86_64": "qemu-system-x86",
    "strip": "binutils",
    "vmcore-dmesg": "kexec-tools",
    "zstd": "zstd",
}

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class HostError(Exception):
    """Something on the host is missing or a host program failed."""


def find(program: str) -> Path | None:
    """Where a program is; system folders are searched before PATH, which may hold wrappers."""
    found = shutil.which(program, path=_SYSTEM_PATH) or shutil.which(program)
    return Path(found) if found else None


def need(program: str) -> Path:
    """Where a program is; its absence is an error."""
    found = find(program)
    if found is None:
        raise HostError(f"{program}: not found (Debian package {PROGRAMS.get(program, program)})")
    return found


def missing() -> list[str]:
    """What this host lacks, as `program (package)`, empty when a crash can be run."""
    lacking = [
        f"{program} ({package})" for program, package in PROGRAMS.items() if find(program) is None
    ]
    busybox = find("busybox")
    if busybox is not None and "not a dynamic executable" not in _ldd_words(busybox):
        lacking.append("a static busybox (busybox-static)")
    return lacking


def _ldd_words(program: Path) -> str:
    done = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def run(command: Sequence[str | Path], *, cwd: Path | None = None) -> str:
    """Run a program to its end and return what it printed; failure carries its last words."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip()[-2000:]
        raise HostError(f"{' '.join(words)}: exit {done.returncode}: {last}")
    return done.stdout
