# SPDX-License-Identifier: MIT
"""The checks by name, and which targets go without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import checks, pagechecks
from .targets import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .crashed import Crashed
    from .targets import Target

CHECKS: dict[str, Callable[[Crashed], str]] = {
    "search": checks.search,
    "vmcore": checks.vmcore,
    "oldmem": checks.oldmem,
    "clamped": checks.clamped,
    "saved": checks.saved,
    "dmesg": checks.dmesg,
    "summary": checks.summary,
    "registers": checks.registers,
    "pages": pagechecks.pages,
    "flags": pagechecks.flags,
    "kern": pagechecks.kern,
}


def without(target: Target, name: str) -> str:
    """Why a target goes without a check; empty if it does not."""
    if (name == "clamped") != (target.copy == NOTHING):
        if name == "clamped":
            return "all PT_LOADs are memory"
        if name in ("vmcore", "dmesg", "pages", "saved"):
            return "reading /proc/vmcore takes this capture kernel down"
    if name == "pages" and not target.oracle:
        return "no makedumpfile follows this kernel"
    return ""
