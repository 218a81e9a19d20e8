"""Hiding from ptrace and core dumps."""

from __future__ import annotations

from .._oldmem import lib


def hide_process() -> None:
    """Keep this process out of core dumps and ptrace: it holds another kernel's secrets."""
    lib.om_hide_process()
