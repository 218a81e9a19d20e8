# SPDX-License-Identifier: MIT
"""`python -m tests.vm.debian.symbols RELEASE`: a Debian kernel's debug symbols, 0.3 GB packed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ..apt import Apt, cache_folder
from ..cache import filling
from ..tools import HostError
from .system import SUITE

if TYPE_CHECKING:
    from pathlib import Path


def vmlinux(release: str) -> Path:
    """Where the kernel with symbols is, once it is fetched."""
    return cache_folder() / "symbols" / release / f"usr/lib/debug/boot/vmlinux-{release}"


def main() -> int:
    """The command."""
    (release,) = sys.argv[1:]
    apt = Apt(SUITE)
    try:
        with filling():
            apt.update()
            apt.unpack(cache_folder() / "symbols" / release, f"linux-image-{release}-dbg")
    except HostError as error:
        print(error, file=sys.stderr)
        return 1
    print(vmlinux(release))
    return 0


if __name__ == "__main__":
    sys.exit(main())
