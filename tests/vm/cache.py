# SPDX-License-Identifier: MIT
"""Each part of the cache is filled by one process at a time: tests may run side by side."""

from __future__ import annotations

import contextlib
import fcntl
from typing import TYPE_CHECKING

from .apt import cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def filling(part: str = "packages") -> Iterator[None]:
    """Wait until nobody else fills this part, and keep others waiting."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{part}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
