"""`status`: what is served, from where, and what was odd about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import __version__
from ..elfcore import MACHINES
from ..plan import Plan
from ..view import LiveView

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..view import Catalog

_MOST_RANGES = 64


def _lines(catalog: Catalog) -> Iterator[str]:
    dump = catalog.dump
    header = dump.header
    machine = MACHINES.get(header.machine, f"e_machine {header.machine}")
    yield f"oldmemfs     {__version__}"
    yield f"source       {dump.source}"
    yield f"header       {dump.origin}"
    yield (
        f"vmcore is    ELF{header.bits}, {machine}, {'big' if header.big_endian else 'little'} "
        f"endian, {len(header.phdrs)} program headers, pages of {dump.page_size} bytes"
    )
    yield f"kernel       {dump.vmcoreinfo.release or 'unknown: no VMCOREINFO'}"
    ranges = dump.memory.ranges()
    yield f"memory       {sum(r.size for r in ranges)} bytes in {len(ranges)} ranges"
    for r in ranges[:_MOST_RANGES]:
        yield f"  {r.start:#018x}-{r.end:#018x}"
    if len(ranges) > _MOST_RANGES:
        yield f"  and {len(ranges) - _MOST_RANGES} more"
    yield "views"
    for view, plan in catalog.plans():
        size = str(plan.size) if isinstance(plan, Plan) else f"cannot be read: {plan}"
        yield f"  {view.name:<12} {size}"
    yield f"bad pages    {catalog.badpages.size} bytes so far"
    yield f"warnings     {len(dump.warnings)}"
    for warning in dump.warnings:
        yield f"  {warning}"


def text(catalog: Catalog) -> str:
    """The whole text."""
    return "".join(f"{line}\n" for line in _lines(catalog))


VIEW = LiveView("status", text)
