# SPDX-License-Identifier: MIT
"""The text ring (before 3.5, SYMBOL(log_end)): the lines of the console in one ring of text.

::

    0              log_end mod len               log_buf_len
    |..newest line|oldest line.................|   logged_chars bytes before log_end are valid

A line may start with ``<priority>`` and ``[seconds.microseconds] ``. The oldest line may be cut.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ...errors import FaultError, FormatError
from .record import MAX_RECORDS, MAX_TEXT, Log, Record, Skipped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..virtual import Remembered
    from ..vmcoreinfo import Vmcoreinfo

_PIECE = 1 << 12
_LEAD = re.compile(rb"(?:<(\d{1,4})>)?(?:\[ *(\d{1,10})\.(\d{6})\] )?")


class _Ring(NamedTuple):
    """``size`` bytes at ``data``; ``end``: characters written ever; ``chars``: the valid ones."""

    data: int
    size: int
    end: int
    chars: int

    @classmethod
    def from_vmcoreinfo(cls, virtual: Remembered, info: Vmcoreinfo) -> _Ring:
        """From the kernel's variables."""
        data = virtual.pointer(info.need("SYMBOL(log_buf)"))
        size, end, chars = (
            virtual.number(info.need(f"SYMBOL({key})"), 4)
            for key in ("log_buf_len", "log_end", "logged_chars")
        )
        if not size:
            raise FormatError("log_buf_len is 0: there is no log", data)
        return cls(data, size, end, chars)


def places(virtual: Remembered, info: Vmcoreinfo) -> Iterator[tuple[int, int]]:
    """Where the ring lies, as (virt, size)."""
    ring = _Ring.from_vmcoreinfo(virtual, info)
    yield ring.data, ring.size


def read(virtual: Remembered, info: Vmcoreinfo) -> Log:
    """Every line that the ring holds."""
    data, size, end, chars = _Ring.from_vmcoreinfo(virtual, info)
    skipped = Skipped()
    if chars > min(size, MAX_TEXT):
        skipped.add("more characters than the ring can hold", f"{chars:#x}")
        chars = min(size, MAX_TEXT)
    start = (end - chars) % size
    before_wrap = min(chars, size - start)
    text = _pieces(virtual, data + start, before_wrap, skipped)
    text += _pieces(virtual, data, chars - before_wrap, skipped)
    text = text.removesuffix(b"\n")
    before = text.count(b"\n") + 1 - MAX_RECORDS
    lines = text.rsplit(b"\n", MAX_RECORDS) if text else []
    if before > 0:
        skipped.add(f"lines before the newest {MAX_RECORDS}", f"{before}")
        del lines[0]
    return Log(tuple(_line(*pair) for pair in enumerate(lines)), skipped.sentences())


def _pieces(virtual: Remembered, virt: int, size: int, skipped: Skipped) -> bytes:
    """The bytes of ``[virt, virt + size)`` that can be read."""
    found = []
    end = virt + size
    while virt < end:
        stop = min(end, virt + _PIECE - virt % _PIECE)
        try:
            found.append(virtual.read(virt, stop - virt))
        except FaultError:
            skipped.add("pieces that cannot be read", f"{virt:#x}..{stop:#x}")
        virt = stop
    return b"".join(found)


def _line(seq: int, line: bytes) -> Record:
    match = _LEAD.match(line)
    assert match is not None, "every part of the pattern is optional"
    priority, seconds, micros = match.groups()
    return Record(
        seq=seq,
        ts_nsec=None if seconds is None else int(seconds) * 10**9 + int(micros) * 1000,
        level=None if priority is None else int(priority) & 7,
        facility=None if priority is None else int(priority) >> 3,
        caller=None,
        text=line[match.end() :],
        lead=match.group(),
    )
