# SPDX-License-Identifier: MIT
"""The lines of a log that show a cause of the crash, and where their last series begins.

The log may be hostile, so the work is bounded: only the first ``_TEXT`` bytes of the newest
``MOST`` records are searched, and at most ``TRIES`` patterns are tried.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, overload

from .causes import CAUSES, Cause, Grade

if TYPE_CHECKING:
    from .printk import Log, Record

ROWS = [(sign.words, sign.pattern, cause) for cause in CAUSES for sign in cause.signs]
MOST = 1 << 17  # records
TRIES = 1 << 15  # patterns tried, on lines that contain their words
_TEXT = 256  # bytes of a record; the words of every message are at its front
_BLOCK = 64  # records that are searched for words together
_SERIES = 1024  # records between two reports of one series; backtraces of many CPUs lie between


class Lines:
    """The first ``_TEXT`` bytes of the kernel's own records.

    A record that a program wrote to /dev/kmsg has a facility that is not 0 and is left out. Texts
    are cut at each access, because copies of a whole log could take 64 MiB.
    """

    def __init__(self, log: Log) -> None:
        self._records = [r for r in log.records[-MOST:] if not r.facility]

    def record(self, at: int) -> Record:
        """The whole record of a line."""
        return self._records[at]

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, at: int) -> bytes: ...
    @overload
    def __getitem__(self, at: slice) -> list[bytes]: ...
    def __getitem__(self, at: int | slice) -> bytes | list[bytes]:
        if isinstance(at, int):
            return self._records[at].text[:_TEXT]
        return [record.text[:_TEXT] for record in self._records[at]]


@dataclass(slots=True)
class _Series:
    """The first and the last line of the last series of signs of one cause.

    A cause that a machine can survive has one only if it ends shortly before the panic.
    """

    first: int
    last: int


@dataclass(slots=True)
class Signs:
    """The causes that the lines before a panic show; of each cause only its last series."""

    series: dict[Cause, _Series] = field(default_factory=dict)
    oops: tuple[int, Cause] | None = None  # the line and the cause of the first oops
    last_oops: int = 0  # the line of the last oops

    @classmethod
    def before(cls, lines: Lines, end: int) -> Signs:
        """The signs before line ``end``, searched from there backwards."""
        signs, left = cls(), TRIES
        for high in range(end, 0, -_BLOCK):
            block = lines[max(high - _BLOCK, 0) : high]
            text = b"\n".join(block)
            rows = [row for row in ROWS if row[0] in text]
            for at, line in enumerate(reversed(block), 1) if rows else ():
                for words, pattern, cause in rows:
                    if words in line and left:
                        left -= 1
                        if pattern.search(line):
                            signs.add(high - at, cause, end)
                            break
        return signs

    def add(self, at: int, cause: Cause, end: int) -> None:
        """Add a sign in line ``at``, which is before all that were added already."""
        if cause.grade is Grade.OOPS:
            self.last_oops = self.last_oops or at
            self.oops = at, cause
        series = self.series.get(cause)
        if series is None and (cause.grade is Grade.OOPS or end - at <= _SERIES):
            self.series[cause] = _Series(at, at)
        elif series is not None and series.first - at <= _SERIES:
            series.first = at

    def begin(self, cause: Cause) -> int | None:
        """The first line of the last series of ``cause``, or the last one if ``cause.newest``."""
        series = self.series.get(cause)
        if series is None:
            return None
        return series.last if cause.newest else series.first

    def newest(self, end: int) -> tuple[int, Cause] | None:
        """The beginning of the series that ends last, if it ends shortly before line ``end``."""
        near = [(s.last, c) for c, s in self.series.items() if end - s.last <= _SERIES]
        if not near:
            return None
        cause = max(near, key=lambda pair: pair[0])[1]
        return self.begin(cause) or 0, cause
