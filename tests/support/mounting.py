# SPDX-License-Identifier: MIT
"""Real mounts for tests: marked, bounded in time, always cleaned up."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from oldmemfs.fuse.server import Mount

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OLDMEMFS = [sys.executable, "-P", "-m", "oldmemfs"]  # -P: the package, not this folder


PATIENCE = 180.0  # seconds: a machine may be busy with something else; what hangs, hangs longer
_NOT_ROOT = "not root: run the tests as root"


def _missing() -> str | None:
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "no /dev/fuse here: modprobe fuse, or docker run --privileged"
    return None if os.getuid() == 0 else _NOT_ROOT


_REASON = _missing()
needs_mount = [
    pytest.mark.mount,
    pytest.mark.skipif(_REASON is not None, reason=_REASON or "nothing is missing"),
]
needs_root = pytest.mark.skipif(os.getuid() != 0, reason=_NOT_ROOT)


# A sanitizer's runtime is for our own program: other tools go without it.
_PRELOAD = os.environ.pop("LD_PRELOAD", None)
ENVIRONMENT = os.environ | ({"LD_PRELOAD": _PRELOAD} if _PRELOAD else {})


def run(*words: str, timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
    """A command, bounded, with its output."""
    return subprocess.run(
        words,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=ENVIRONMENT if words[0] == sys.executable else None,
    )


def is_mounted(directory: str | Path) -> bool:
    """Whether an oldmemfs is mounted there; asks no file system."""
    return Mount.at(str(directory)) is not None


def wait_until(true: object, seconds: float = PATIENCE) -> None:
    """Wait for a condition, a callable."""
    deadline = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


@contextlib.contextmanager
def mounted(source: str, directory: Path, options: str = "") -> Iterator[subprocess.Popen[str]]:
    """A daemon in the foreground, until the end; it must end cleanly by then."""
    directory.mkdir(exist_ok=True)
    command = [*OLDMEMFS, source, str(directory), "-f", *(["-o", options] if options else [])]
    daemon = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    try:
        wait_until(lambda: is_mounted(directory) or daemon.poll() is not None)
        yield daemon
    finally:
        if is_mounted(directory):
            run("umount", "-l", str(directory))
        try:
            daemon.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            daemon.kill()
            raise
        finally:
            assert daemon.stderr is not None
            daemon.stderr.close()
