# SPDX-License-Identifier: MIT
"""The files in the mount, in the order in which the directory lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import badpages, cpus, dmesg, oldmem, status, summary, vmcore, vmcore_kern, vmcoreinfo

if TYPE_CHECKING:
    from ..dump import Dump
    from ..options import Options
    from .catalog import LiveView, View


def make_views(dump: Dump, options: Options) -> tuple[View | LiveView, ...]:
    """The views of a dump."""
    return (
        vmcore.VIEW,
        *vmcore_kern.make_views(options.dump_level),
        oldmem.VIEW,
        *dmesg.VIEWS,
        *summary.VIEWS,
        *cpus.make_views(dump),
        vmcoreinfo.VIEW,
        status.VIEW,
        badpages.VIEW,
    )
