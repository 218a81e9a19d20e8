# SPDX-License-Identifier: MIT
"""`badpages`: the ranges of memory that could not be read so far."""

from __future__ import annotations

from .catalog import LiveView

VIEW = LiveView("badpages", lambda catalog: catalog.badpages.text(catalog.dump), "cat")
