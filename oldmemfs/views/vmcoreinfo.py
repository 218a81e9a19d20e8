# SPDX-License-Identifier: MIT
"""`vmcoreinfo`: the text of the dump's VMCOREINFO note."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import FormatError
from ..maps.layout import Layout
from .catalog import View

if TYPE_CHECKING:
    from ..dump import Dump


def layout(dump: Dump) -> Layout:
    """The text of the note, unchanged."""
    text = dump.vmcoreinfo.text
    if not text:
        raise FormatError(f"{dump.origin}: no VMCOREINFO note")
    drawn = Layout()
    drawn.bytes(text, "VMCOREINFO")
    return drawn


VIEW = View("vmcoreinfo", layout, "cat")
