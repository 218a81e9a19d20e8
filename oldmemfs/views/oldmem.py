# SPDX-License-Identifier: MIT
"""`oldmem`: physical memory at the crash, file offset = physical address.

::

    file   0    0x1000        0x9fc00      0x100000            end of the highest range
           |zero|-- backup ---|--- zero ---|------ memory -----|
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..maps.layout import Layout
from .catalog import View

if TYPE_CHECKING:
    from ..dump import Dump


def layout(dump: Dump) -> Layout:
    """The dead kernel's memory at its physical addresses; zeros where it had no memory."""
    drawn = Layout()
    for r in dump.memory.ranges:
        drawn.zero(r.start - drawn.size, "hole")
        drawn.memory(r.start, r.size, "memory")
    return drawn


VIEW = View("oldmem", layout, "dd, by physical address")
