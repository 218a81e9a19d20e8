# SPDX-License-Identifier: MIT
"""makedumpfile for ``readers.py``: filter a dump once more, and say what was kept of it."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SECONDS = 300


def _run(command: list[str], *words: str) -> bytes:
    done = subprocess.run([*command, *words], capture_output=True, timeout=_SECONDS, check=False)
    if done.returncode:
        return f"\nstatus {done.returncode}: ".encode() + done.stdout + done.stderr
    return b""


def refilter(command: list[str], core: str, target: Path) -> bytes:
    """Compress what level 31 keeps; nothing, or what went wrong."""
    return _run(command, "--message-level", "0", "-c", "-d", "31", core, str(target))


def log(command: list[str], core: str, target: Path) -> bytes:
    """The log."""
    wrong = _run(command, "--message-level", "0", "--dump-dmesg", core, str(target))
    text = wrong or target.read_bytes()
    target.unlink(missing_ok=True)
    return text


def kept_pages(dump: Path) -> bytes:
    """Page frame number and digest, a line for each page that a compressed dump keeps.

    A page of zeros counts as kept only where the dump says so; both files are read alike.
    """
    data = dump.read_bytes()
    assert data[:8] == b"KDUMP   ", data[:8]
    block, sub, bitmap, frames = struct.unpack_from("<4I", data, 8 + 4 + 390 + 6 + 16 + 4)
    half = bitmap * block // 2
    start = block * (1 + sub)
    second = data[start + half : start + 2 * half]
    at = start + 2 * half
    lines = []
    for pfn in range(8 * half):
        if not second[pfn // 8] >> pfn % 8 & 1:
            continue
        offset, size, flags, _ = struct.unpack_from("<QIIQ", data, at)
        at += 24
        page = data[offset : offset + size]
        page = zlib.decompress(page) if flags & 1 else page
        if any(page):
            lines.append(f"{pfn:#x} {hashlib.sha256(page).hexdigest()[:16]}")
    assert frames
    return "\n".join(lines).encode()
