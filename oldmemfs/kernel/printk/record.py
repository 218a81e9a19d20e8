"""A record of the log, and a log: what every generation is read into.

Records stand in the order in which the kernel printed them. What was skipped is said in words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

# Of one log the newest are given. Linux allows a ring of 2 GiB, and has 128 KiB if nobody asks for
# more. Page tables may show one page as often as they like: the limits are for memory.
MAX_RECORDS = 1 << 18  # about 80 MB
MAX_TEXT = 1 << 24  # bytes
_ON_CPU = 1 << 31


class Record(NamedTuple):
    """One message. What a generation does not know is None."""

    seq: int  # the kernel's own; counted from 0 where it kept none
    ts_nsec: int | None
    level: int | None
    facility: int | None
    caller: int | None
    text: bytes
    lost: bool = False  # its text is gone
    lead: bytes | None = None  # what stands before the text in memory, where that is text too

    @property
    def caller_name(self) -> str | None:
        """``T`` and the task's pid, or ``C`` and the processor's number outside of tasks."""
        if self.caller is None:
            return None
        return f"C{self.caller & ~_ON_CPU}" if self.caller & _ON_CPU else f"T{self.caller}"


@dataclass(frozen=True, slots=True)
class Log:
    """Records, oldest first, and one sentence for each kind of thing that was skipped."""

    records: tuple[Record, ...]
    skipped: tuple[str, ...] = ()


class Skipped:
    """Counts what is skipped, by reason, so that a wreck takes no more room than a scratch."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._first: dict[str, str] = {}

    def add(self, reason: str, where: str) -> None:
        """One more for ``reason``; the first one's place is kept."""
        self._counts[reason] = self._counts.get(reason, 0) + 1
        self._first.setdefault(reason, where)

    def sentences(self) -> tuple[str, ...]:
        """One a reason."""
        return tuple(
            f"{reason}: {count}, first {self._first[reason]}"
            for reason, count in self._counts.items()
        )
