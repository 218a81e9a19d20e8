# SPDX-License-Identifier: MIT
"""How fast the mounted `vmcore` is, as a ratio to /proc/vmcore read the same way, same run."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .checks import MOUNT
from .compare import MIB, opened
from .report import emit, run
from .vmcore import VMCORE

if TYPE_CHECKING:
    from collections.abc import Callable

OURS = f"{MOUNT}/vmcore"


def measure(rounds: int) -> None:
    """Send one record for each way of reading: best seconds of each side, and true / ours."""
    for name, reader in (
        ("dd bs=1M", _dd("1M", 256)),
        ("dd bs=128k", _dd("128k", 1024)),
        ("random 4k", _random),
        ("dd bs=4k", _dd("4k", 4096)),
    ):
        ours, true = [], []
        for _ in range(rounds):
            true.append(_seconds(reader, VMCORE))
            ours.append(_seconds(reader, OURS))
        emit(
            "bench",
            name=name,
            oldmemfs=round(min(ours), 3),
            proc_vmcore=round(min(true), 3),
            ratio=round(min(true) / min(ours), 2),
        )


def _seconds(reader: Callable[[str], None], path: str) -> float:
    Path("/proc/sys/vm/drop_caches").write_text("3")
    began = time.monotonic()
    reader(path)
    return time.monotonic() - began


def _dd(size: str, count: int) -> Callable[[str], None]:
    def reader(path: str) -> None:
        done = run("dd", f"if={path}", "of=/dev/null", f"bs={size}", f"count={count}")
        if done.returncode != 0:
            raise RuntimeError(done.stderr)

    return reader


def _random(path: str) -> None:
    numbers = random.Random(1)
    size = os.stat(path).st_size
    buffer = [bytearray(4096)]
    with opened(path) as fd:
        for _ in range(4096):
            os.preadv(fd, buffer, numbers.randrange(0, min(size, 256 * MIB), 4096))
