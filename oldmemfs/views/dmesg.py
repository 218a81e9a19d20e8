# SPDX-License-Identifier: MIT
"""`dmesg` and `dmesg.json`: the dead kernel's log; needs only its memory and VMCOREINFO."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernel.printk import as_json, as_text
from ..maps.layout import Layout
from .catalog import View

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..dump import Dump
    from ..kernel.printk import Log


def _drawn(render: Callable[[Log], bytes], label: str) -> Callable[[Dump], Layout]:
    def layout(dump: Dump) -> Layout:
        drawn = Layout()
        drawn.bytes(render(dump.log), label)
        return drawn

    return layout


VIEWS = (
    View("dmesg", _drawn(as_text, "log"), "less, grep"),
    View("dmesg.json", _drawn(as_json, "log, an object a line"), "jq, programs"),
)
