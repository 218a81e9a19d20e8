# SPDX-License-Identifier: MIT
"""The machine's word to the host: one JSON object per line on the second serial port."""

from __future__ import annotations

import json
import subprocess
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PORT = Path("/dev/ttyS1")


class CheckError(Exception):
    """A check did not hold; the message says what was seen."""


def emit(kind: str, **fields: object) -> None:
    """Send one record."""
    line = json.dumps({"kind": kind, **fields}) + "\n"
    with PORT.open("w") as port:
        port.write(line)
    print(f"{kind}: {line[:300]}", end="", flush=True)


def check(name: str, function: Callable[[], str]) -> bool:
    """Run one check and send its verdict; a check answers with what it has seen."""
    began = time.monotonic()
    try:
        detail, good = function(), True
    except CheckError as failure:
        detail, good = str(failure), False
    except Exception:
        detail, good = traceback.format_exc(), False
    emit("check", name=name, ok=good, detail=detail, seconds=round(time.monotonic() - began, 2))
    return good


def run(*command: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run a program until its output is closed; its exit status is the caller's business."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        said = [stream for stream in (error.stdout, error.stderr) if stream]
        raise CheckError(
            f"{' '.join(command)}: still runs after {timeout:.0f} s,"
            f" or has left a process that holds its output open; said {said}"
        ) from None


def expect(good: bool, message: str) -> None:
    """Fail with the message unless the condition holds."""
    if not good:
        raise CheckError(message)
