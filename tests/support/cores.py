# SPDX-License-Identifier: MIT
"""ELF notes and the registers that gdb shows of a core."""

from __future__ import annotations

import re
import struct
import subprocess
from typing import TYPE_CHECKING

from support.mounting import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path


def gdb_registers(path: Path) -> dict[str, int]:
    """``info registers`` of a core."""
    command = ["gdb", "-nx", "-batch", "-ex", "info registers", "-c", str(path)]
    told = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=PATIENCE
    ).stdout
    found = re.findall(r"^(\w+) +(0x[0-9a-f]+)", told, re.MULTILINE)
    return {name: int(value, 16) for name, value in found}


def note(name: bytes, kind: int, desc: bytes, *, big_endian: bool = False) -> bytes:
    """A note as the kernel writes it."""
    head = struct.pack((">" if big_endian else "<") + "3I", len(name), len(desc), kind)
    return head + name + bytes(-len(name) % 4) + desc + bytes(-len(desc) % 4)
