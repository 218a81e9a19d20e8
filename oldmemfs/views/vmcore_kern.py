# SPDX-License-Identifier: MIT
"""`vmcore-kern`: the kernel's pages only, as an ELF core. `filter-report`: what was left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..filter.scan import Scan
from ..maps.layout import Layout
from .catalog import View

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..dump import Dump


def make_views(level: int) -> Iterator[View]:
    """Both files at a dump level; they share one scan."""
    scan = Scan(level)

    def report(dump: Dump) -> Layout:
        drawn = Layout()
        drawn.bytes(scan.result(dump).report().encode(), "report")
        return drawn

    yield View(
        "vmcore-kern", lambda dump: scan.result(dump).core.layout, "crash, drgn, gdb", scan=scan
    )
    yield View("filter-report", report, "cat", scan=scan)
