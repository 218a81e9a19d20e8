# SPDX-License-Identifier: MIT
"""`status`: what is mounted, the state of each file, and all warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import __version__
from ..kernel.arch import machine_name
from ..kernel.printk import one_line
from ..maps.plan import Plan
from ..maps.sizes import exact, human
from .catalog import LiveView, View

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .catalog import Catalog

_MOST_RANGES = 64
_MOST_WARNINGS = 1000


def _lines(catalog: Catalog) -> Iterator[str]:
    dump = catalog.dump
    header = dump.header
    yield f"oldmemfs     {__version__}"
    yield f"source       {dump.source}"
    yield f"header       {dump.origin}"
    order = "big" if header.big_endian else "little"
    yield (
        f"vmcore is    ELF{header.bits}, {machine_name(header)}, {order} endian, "
        f"{len(header.phdrs)} program headers, pages of {dump.page_size} bytes"
    )
    yield f"kernel       {dump.vmcoreinfo.release or 'unknown: no VMCOREINFO'}"
    ranges = dump.memory.ranges
    size = sum(r.size for r in ranges)
    yield f"memory       {size} bytes ({human(size)}) in {len(ranges)} ranges"
    for r in ranges[:_MOST_RANGES]:
        yield f"  {r.start:#018x}-{r.end:#018x}"
    if len(ranges) > _MOST_RANGES:
        yield f"  and {len(ranges) - _MOST_RANGES} more"
    yield "views"
    for view in catalog.views:
        if isinstance(view, View) and not view.name.startswith("cpu/"):
            yield f"  {view.name:<14} {_state(catalog, view)}"
    yield f"bad pages    {catalog.badpages.size} bytes so far"
    yield f"warnings     {len(dump.warnings)}"
    for warning in dump.warnings[:_MOST_WARNINGS]:
        yield f"  {warning}"
    if len(dump.warnings) > _MOST_WARNINGS:
        yield f"  and {len(dump.warnings) - _MOST_WARNINGS} more"


def _state(catalog: Catalog, view: View) -> str:
    so_far = catalog.so_far(view)
    if so_far is None:
        return view.scan.progress() if view.scan else "not built yet"
    if isinstance(so_far, Plan):
        return exact(so_far.size)
    return f"cannot be read: {so_far}"


def text(catalog: Catalog) -> str:
    """The whole text; control characters of the dead kernel are shown in hex."""
    return "".join(one_line(line) + "\n" for line in _lines(catalog))


VIEW = LiveView("status", text, "cat", sizes=True)
