"""`vmcore-kern`: the kernel's pages only, as an ELF core. `filter-report`: what was left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..layout import Layout
from ..scan import Scan
from ..view import View

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..dump import Dump


def of(level: int) -> Iterator[View]:
    """Both files at a dump level; one scan serves them."""
    scan = Scan(level)

    def report(dump: Dump) -> Layout:
        drawn = Layout()
        drawn.bytes(scan.of(dump).report().encode(), "report")
        return drawn

    yield View("vmcore-kern", lambda dump: scan.of(dump).core.layout, "crash, drgn, gdb", scan=scan)
    yield View("filter-report", report, "cat", scan=scan)
