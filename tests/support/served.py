# SPDX-License-Identifier: MIT
"""A small core with a part missing, what its views must hold, and a daemon that serves it."""

from __future__ import annotations

import contextlib
import os
import random
import struct
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support.mounting import ENVIRONMENT, OLDMEMFS, PATIENCE, is_mounted, run, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
PAGE = 4096
DATA = 5 * MIB + 3 * PAGE  # of the core's first PT_LOAD
LOST = 3 * MIB + PAGE  # of its second one, behind the end of the file
START = 0x1000  # the file offset of the first one, and so its physical address


def write_core(path: str) -> dict[str, bytes]:
    """Write an ELF core whose second PT_LOAD is cut off; what `vmcore` and `oldmem` must hold.

    ::

        file   0         START                  START + DATA
               |- ELF ---|------ PT_LOAD 1 -----|      (PT_LOAD 2)      |
        phys             START                  START + DATA            + LOST
    """
    data = random.Random(1).randbytes(DATA)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\2\1\1", 4, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0,
    )  # fmt: skip
    for at, size in ((START, DATA), (START + DATA, LOST)):
        header += struct.pack("<IIQQQQQQ", 1, 7, at, at, at, size, size, 0)
    with open(path, "wb") as file:
        file.write(header.ljust(START, b"\0") + data)
    return {
        "vmcore": header.ljust(START, b"\0") + data + bytes(LOST),
        "oldmem": bytes(START) + data + bytes(LOST),
    }


@dataclass
class Daemon:
    """A mounted oldmemfs."""

    process: subprocess.Popen[bytes]
    directory: str

    def path(self, view: str) -> str:
        """A view's path."""
        return os.path.join(self.directory, view)

    def is_mounted(self) -> bool:
        """Whether the directory is a mount, asked without touching it."""
        return is_mounted(self.directory)

    def end(self, timeout: float = PATIENCE) -> tuple[int, str]:
        """Exit status and all of stderr, once it ends."""
        _, said = self.process.communicate(timeout=timeout)
        return self.process.returncode, said.decode()


@contextlib.contextmanager
def served(source: str, directory: str, options: str, script: str = "") -> Iterator[Daemon]:
    """A daemon in the foreground, or a script in its place; unmounted and ended afterwards."""
    os.makedirs(directory, exist_ok=True)
    command = [sys.executable, script] if script else OLDMEMFS
    process = subprocess.Popen(
        [*command, source, directory, "-f", "-o", options],
        stderr=subprocess.PIPE, env=ENVIRONMENT,
    )  # fmt: skip
    daemon = Daemon(process, os.path.realpath(directory))
    try:
        wait_until(lambda: daemon.is_mounted() or process.poll() is not None)
        yield daemon
    finally:
        if daemon.is_mounted():
            run("umount", "-l", directory)
        if process.poll() is None:
            process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stderr:
            process.stderr.close()
