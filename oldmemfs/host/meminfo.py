"""/proc/meminfo: how much memory this machine can still give."""

from __future__ import annotations

import re

from .files import read_text


def available() -> int | None:
    """Bytes that can be had before the OOM killer comes; None where the kernel does not say."""
    found = re.search(r"^MemAvailable: +(\d+) kB$", read_text("/proc/meminfo") or "", re.MULTILINE)
    return int(found[1]) << 10 if found else None
