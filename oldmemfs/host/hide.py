# SPDX-License-Identifier: MIT
"""Protection of this process's memory from ptrace and core dumps."""

from __future__ import annotations

from .._oldmem import lib


def hide_process() -> None:
    """Forbid core dumps and ptrace of this process (PR_SET_DUMPABLE 0).

    Its buffers hold pages of the crashed kernel, and so keys and passwords.
    """
    lib.om_hide_process()
