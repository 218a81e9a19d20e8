# SPDX-License-Identifier: MIT
"""Bounds on what a test costs, in processor time: other work on the machine does not count."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def cpu_seconds(most: float) -> Iterator[None]:
    """What is done inside takes this process, all its threads, so much time at most."""
    begun = time.process_time()
    yield
    used = time.process_time() - begun
    assert used < most, f"it took {used:.1f} s of processor time"


def cpu_seconds_of(pid: int) -> float:
    """What another process has used until now."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_of(pid: int) -> int:
    """The most bytes that another process ever had in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10
