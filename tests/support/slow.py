# SPDX-License-Identifier: MIT
"""A daemon whose source hangs where and when a test wants it to."""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from support.mounting import ENVIRONMENT, OLDMEMFS, is_mounted, run, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent


def compiled(folder: Path) -> str:
    """``slowpread.c`` as a library that can be preloaded."""
    library = str(folder / "slowpread.so")
    words = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    done = run("cc", *words, "-o", library, str(HERE / "slowpread.c"), "-ldl")
    assert done.returncode == 0, done.stderr
    return library


@dataclass
class Slow:
    """A mounted daemon and its source's gate."""

    process: subprocess.Popen[bytes]
    mnt: Path
    gate: Path
    met: Path

    def hang(self) -> None:
        """From now on reads of the slow part wait."""
        self.met.unlink(missing_ok=True)
        self.gate.touch()

    def let_go(self) -> None:
        """They go on."""
        self.gate.unlink(missing_ok=True)

    def wait_until_met(self) -> None:
        """Until a read waits."""
        wait_until(self.met.exists)

    def end(self, seconds: float) -> tuple[int, str]:
        """Exit status and words, once it has ended by itself; not in time is an error."""
        _, said = self.process.communicate(timeout=seconds)
        return self.process.returncode, said.decode()


@contextlib.contextmanager
def slow(
    library: str,
    source: str,
    part: tuple[int, int],
    folder: Path,
    options: str,
    *,
    deaf: bool = False,
    script: str = "",
) -> Iterator[Slow]:
    """``source`` mounted by a daemon (or by a Python program) for which ``part`` of it is slow."""
    mnt, gate, met = folder / "mnt", folder / "gate", folder / "met"
    mnt.mkdir()
    words = ["-P", "-c", script] if script else OLDMEMFS[1:]
    preload = f"{ENVIRONMENT.get('LD_PRELOAD', '')} {library}".strip()
    environment = ENVIRONMENT | {
        "LD_PRELOAD": preload, "SLOW_FILE": source, "SLOW_GATE": str(gate), "SLOW_MET": str(met),
        "SLOW_START": str(part[0]), "SLOW_END": str(part[1]),
    }  # fmt: skip
    if deaf:
        environment["SLOW_DEAF"] = "1"
    process = subprocess.Popen(
        [OLDMEMFS[0], *words, source, str(mnt), "-f", "-o", options],
        stderr=subprocess.PIPE, env=environment,
    )  # fmt: skip
    made = Slow(process, mnt, gate, met)
    try:
        wait_until(lambda: is_mounted(mnt) or process.poll() is not None)
        yield made
    finally:
        made.let_go()
        if is_mounted(mnt):
            run("umount", "-l", str(mnt))
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stderr:
            process.stderr.close()


class Waiting:
    """A child that does one thing with the mount, which may take for ever."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                act()
                status = 0
            finally:
                os._exit(status)

    def has_ended(self) -> bool:
        """Whether it is through; asks once and remembers."""
        if self.pid:
            pid, self.status = os.waitpid(self.pid, os.WNOHANG)
            self.pid = 0 if pid else self.pid
        return not self.pid

    def wait(self, seconds: float = 20) -> bool:
        """Whether it succeeded."""
        wait_until(self.has_ended, seconds)
        return self.status == 0
