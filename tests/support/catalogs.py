# SPDX-License-Identifier: MIT
"""Short ways from an image to the bytes of a view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oldmemfs import views
from oldmemfs.options import parse
from oldmemfs.sources import open_source
from oldmemfs.views.catalog import Catalog, View
from oldmemfs.views.unreadable import BadPages

if TYPE_CHECKING:
    from pathlib import Path

    from oldmemfs.maps.plan import Plan
    from oldmemfs.maps.table import Fault
    from support.image import Image


def catalog_of(path: str, options: str = "") -> Catalog:
    """The views of the dump at ``path``."""
    parsed = parse([options])
    dump = open_source(path, parsed)
    return Catalog(dump, views.make_views(dump, parsed), BadPages())


def plan_of(catalog: Catalog, name: str) -> Plan:
    """One view's plan."""
    (view,) = (v for v in catalog.views if v.name == name)
    assert isinstance(view, View)
    return catalog.plan(view)


def read_all(plan: Plan) -> tuple[bytes, list[Fault]]:
    """A whole view."""
    return plan.table.read(0, plan.size)


def vmcore(image: Image, tmp_path: Path, options: str) -> tuple[bytes, tuple[str, ...]]:
    """`vmcore` of an image and the warnings it came with; nothing of it may be unreadable."""
    catalog = catalog_of(image.write(tmp_path / "ram.img"), options)
    data, faults = read_all(plan_of(catalog, "vmcore"))
    assert not faults
    return data, catalog.dump.warnings
