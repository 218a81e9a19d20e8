"""The lines of a log that tell of a cause of death, and where their last series begins.

The log may be hostile: of the newest ``MOST`` records the first ``_TEXT`` bytes are looked at, and
no more than ``TRIES`` patterns are tried.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, overload

from .causes import CAUSES, Cause, Grade

if TYPE_CHECKING:
    from .printk import Log, Record

ROWS = [(sign.words, sign.pattern, cause) for cause in CAUSES for sign in cause.signs]
MOST = 1 << 17  # records
TRIES = 1 << 15  # of patterns, in lines that have their words
_TEXT = 256  # bytes of a record; every format has its words in front
_BLOCK = 64  # records that are searched for words at once
_SERIES = 1024  # records between two reports of one series: backtraces of many CPUs


class Lines:
    """The fronts of the kernel's own records, cut when they are asked for: a log may have 64 MiB.

    What programs write to /dev/kmsg has a facility that is not 0.
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
    """Where the signs of a cause stand: the first and the last one of the last series.

    Of causes that machines survive only a series shortly before the panic counts.
    """

    first: int
    last: int


@dataclass(slots=True)
class Signs:
    """What the lines tell of causes; of each cause no more than its last series is kept."""

    series: dict[Cause, _Series] = field(default_factory=dict)
    oops: tuple[int, Cause] | None = None  # the first one
    last_oops: int = 0

    @classmethod
    def before(cls, lines: Lines, end: int) -> Signs:
        """The signs before line ``end``, found from there backwards."""
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
        """One more, before those that were added already."""
        if cause.grade is Grade.OOPS:
            self.last_oops = self.last_oops or at
            self.oops = at, cause
        series = self.series.get(cause)
        if series is None and (cause.grade is Grade.OOPS or end - at <= _SERIES):
            self.series[cause] = _Series(at, at)
        elif series is not None and series.first - at <= _SERIES:
            series.first = at

    def begin(self, cause: Cause) -> int | None:
        """The line in which the last series of ``cause`` begins, or its deadly one."""
        series = self.series.get(cause)
        if series is None:
            return None
        return series.last if cause.newest else series.first

    def newest(self, end: int) -> tuple[int, Cause] | None:
        """The beginning of what came last, if that was shortly before line ``end``."""
        near = [(s.last, c) for c, s in self.series.items() if end - s.last <= _SERIES]
        if not near:
            return None
        cause = max(near, key=lambda pair: pair[0])[1]
        return self.begin(cause) or 0, cause
