# SPDX-License-Identifier: MIT
"""The pages that the installed makedumpfile keeps of a vmcore."""

from __future__ import annotations

import struct
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def theirs(vmcore: Path, level: int, folder: Path) -> set[int]:
    """The pages in bitmap 2 of a compressed dump."""
    out = folder / "out"
    out.unlink(missing_ok=True)
    command = [
        "makedumpfile",
        "-l",
        "-d",
        str(level),
        "--message-level",
        "0",
        str(vmcore),
        str(out),
    ]
    subprocess.run(command, check=True, capture_output=True)
    data = out.read_bytes()
    (block,) = struct.unpack_from("<i", data, 428)
    sub, blocks = struct.unpack_from("<iI", data, 432)
    start = (1 + sub + blocks // 2) * block
    bitmap = data[start : start + blocks // 2 * block]
    return {8 * i + b for i, byte in enumerate(bitmap) if byte for b in range(8) if byte >> b & 1}
