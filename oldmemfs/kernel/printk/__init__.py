"""The dead kernel's log, from VMCOREINFO and its virtual memory alone: one file per generation.

::

    prb                   5.10 and later   descriptors and a ring of text    lockless
    log_first_idx         3.5 .. 5.9       records, one after the other      buffer
    log_end, logged_chars before 3.5       a ring of text lines              lines

Which one it is, VMCOREINFO's keys say, never the version.
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
    """Where ``read_log`` reads, as ``(virt, size)``: nowhere if VMCOREINFO leads to no log.

    Raises ``FormatError`` for a log that cannot be, ``FaultError`` where its head cannot be read.
    """
    for key, _, places in _GENERATIONS:
        if info.symbol(key) is not None:
            return list(places(Remembered(virtual), info))
    return []


def read_log(virtual: Virtual, info: Vmcoreinfo) -> Log:
    """Every record that still stands, oldest first.

    Raises ``FormatError`` where there is no log to be found, ``FaultError`` where its head cannot
    be read; whatever is broken beyond that costs records, which the log tells as ``skipped``.
    """
    for key, read, _ in _GENERATIONS:
        if info.symbol(key) is not None:
            return read(Remembered(virtual), info)
    raise info.missing(*(f"SYMBOL({key})" for key, _, _ in _GENERATIONS))
