# SPDX-License-Identifier: MIT
"""Tests of images that lie in memory need a tmpfs at /dev/shm."""

from __future__ import annotations

import pytest


def _has_tmpfs() -> bool:
    with open("/proc/self/mounts", errors="replace") as file:
        return any(line.split()[1:3] == ["/dev/shm", "tmpfs"] for line in file)


needs_tmpfs = pytest.mark.skipif(
    not _has_tmpfs(), reason="/dev/shm is no tmpfs: mount -t tmpfs none /dev/shm"
)
