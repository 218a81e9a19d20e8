# SPDX-License-Identifier: MIT
"""The form that logs of all generations are read into: records, and what was skipped.

Records are in the order in which the kernel printed them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

# Of a larger log the newest records are given. Linux allows a ring of 2 GiB; its default is 128 KiB
# or so. Hostile page tables can map one page many times, so these limits bound our memory.
MAX_RECORDS = 1 << 18  # they take about 80 MB
MAX_TEXT = 1 << 24  # bytes
_ON_CPU = 1 << 31


class Record(NamedTuple):
    """One message. None: this generation of the log does not store it."""

    seq: int  # the kernel's number, or, before 5.10, counted here from 0
    ts_nsec: int | None
    level: int | None
    facility: int | None
    caller: int | None
    text: bytes
    lost: bool = False  # the ring has the record but not its text
    lead: bytes | None = None  # text ring: the priority and time, as they are in memory

    @property
    def caller_name(self) -> str | None:
        """``T`` and the pid of a task, or, outside of tasks, ``C`` and the number of the CPU."""
        if self.caller is None:
            return None
        return f"C{self.caller & ~_ON_CPU}" if self.caller & _ON_CPU else f"T{self.caller}"


@dataclass(frozen=True, slots=True)
class Log:
    """Records, oldest first, and one sentence for each reason for which something was skipped."""

    records: tuple[Record, ...]
    skipped: tuple[str, ...] = ()


class Skipped:
    """Counts what is skipped, by reason: its size does not grow with the damage."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._first: dict[str, str] = {}

    def add(self, reason: str, where: str) -> None:
        """Count one more for ``reason``; the place of the first one is kept."""
        self._counts[reason] = self._counts.get(reason, 0) + 1
        self._first.setdefault(reason, where)

    def sentences(self) -> tuple[str, ...]:
        """One sentence for each reason."""
        return tuple(
            f"{reason}: {count}, first {self._first[reason]}"
            for reason, count in self._counts.items()
        )
