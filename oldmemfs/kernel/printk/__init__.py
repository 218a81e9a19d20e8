# SPDX-License-Identifier: MIT
"""The dead kernel's log, from VMCOREINFO and its virtual memory: one file for each generation.

::

    prb                   5.10 and later   descriptors and a ring of text    lockless
    log_first_idx         3.5 .. 5.9       records, one after the other      buffer
    log_end, logged_chars before 3.5       a ring of text lines              lines

The generation is decided by the symbols in VMCOREINFO (left column), never by the version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..virtual import Remembered
from . import buffer, lines, lockless
from .record import Log, Record
from .render import as_json, as_text, one_line

if TYPE_CHECKING:
    from ..virtual import Virtual
    from ..vmcoreinfo import Vmcoreinfo

__all__ = ["Log", "Record", "as_json", "as_text", "log_places", "one_line", "read_log"]

_GENERATIONS = (
    ("prb", lockless.read, lockless.places),
    ("log_first_idx", buffer.read, buffer.places),
    ("log_end", lines.read, lines.places),
)


def log_places(virtual: Virtual, info: Vmcoreinfo) -> list[tuple[int, int]]:
    """The memory that ``read_log`` reads, as ``(virt, size)``; empty if VMCOREINFO has no log.

    Raises ``FormatError`` if the log's head is invalid, ``FaultError`` if it cannot be read.
    """
    for key, _, places in _GENERATIONS:
        if info.symbol(key) is not None:
            return list(places(Remembered(virtual), info))
    return []


def read_log(virtual: Virtual, info: Vmcoreinfo) -> Log:
    """Every record that can be read, oldest first.

    Raises ``FormatError`` if VMCOREINFO has no log or the log's head is invalid, ``FaultError`` if
    the head cannot be read. Damage elsewhere only costs records; ``Log.skipped`` lists it.
    """
    for key, read, _ in _GENERATIONS:
        if info.symbol(key) is not None:
            return read(Remembered(virtual), info)
    raise info.missing(*(f"SYMBOL({key})" for key, _, _ in _GENERATIONS))
