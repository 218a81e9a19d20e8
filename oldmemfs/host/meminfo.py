# SPDX-License-Identifier: MIT
"""/proc/meminfo: how much memory is available on this machine."""

from __future__ import annotations

import re

from .files import read_text


def available() -> int | None:
    """MemAvailable in bytes: what can be allocated without swapping; None before Linux 3.14."""
    found = re.search(r"^MemAvailable: +(\d+) kB$", read_text("/proc/meminfo") or "", re.MULTILINE)
    return int(found[1]) << 10 if found else None
