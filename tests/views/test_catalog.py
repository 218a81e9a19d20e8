# SPDX-License-Identifier: MIT
"""A view that cannot be built."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from oldmemfs.errors import FormatError
from oldmemfs.views.catalog import Catalog, View
from oldmemfs.views.unreadable import BadPages

if TYPE_CHECKING:
    from oldmemfs.maps.layout import Layout


def test_a_kept_error_gathers_no_frames() -> None:
    def layout(_: object) -> Layout:
        raise FormatError("broken")

    view = View("broken", layout, "nothing")
    catalog = Catalog(cast("Any", SimpleNamespace()), [view], BadPages())
    lengths = set()
    for _ in range(5):
        with pytest.raises(FormatError, match="broken") as caught:
            catalog.plan(view)
        lengths.add(len(caught.traceback))
    assert len(lengths) == 1
