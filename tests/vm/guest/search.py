# SPDX-License-Identifier: MIT
"""The users' pattern, looked for in a whole file."""

from __future__ import annotations

import os
from collections import Counter

from .compare import MIB, opened
from .pages import pattern

_LONGEST = 48


def search(path: str) -> tuple[Counter[str], int]:
    """How often each kind's pattern is in a file, and the bytes that a copy of the file gets."""
    known: Counter[str] = Counter()
    wanted = pattern()
    size, before = 0, b""
    with opened(path) as fd:
        while part := os.pread(fd, MIB, size):
            size += len(part)
            data = before + part
            at = data.find(wanted)
            while 0 <= at <= len(data) - _LONGEST:
                name = data[at + len(wanted) : at + _LONGEST]
                known[name.rstrip(b"\0").decode("ascii", "backslashreplace")] += 1
                at = data.find(wanted, at + 1)
            before = data[-_LONGEST + 1 :]
    if before.find(wanted) >= 0:  # the file's very end
        known["unnamed"] += 1
    return known, size
