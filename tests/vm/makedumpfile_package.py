# SPDX-License-Identifier: MIT
"""The makedumpfile that follows a kernel: Debian's package of it, with libraries of its own suite.

1.7.2 is right up to 6.1. On 6.12 only 1.7.7 and later are: 1.7.6 finds no free page there.
From 7.1 on those up to 1.7.9 drop tails of compound pages that are the kernel's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import programs

if TYPE_CHECKING:
    from pathlib import Path

# Kernel series -> the Debian suite whose makedumpfile follows it.
SUITES = {"5.10": "bookworm", "6.1": "bookworm", "6.12": "sid", "7": "sid"}


def fetch(series: str, *, refresh: bool = False) -> Path:
    """A folder with the program, its libraries and their loader, `ld.so`."""
    package = "makedumpfile"
    return programs.fetch(SUITES[series], "amd64", package, (package,), refresh=refresh)
