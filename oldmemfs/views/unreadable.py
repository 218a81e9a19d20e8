# SPDX-License-Identifier: MIT
"""The unreadable ranges that reads have met so far: addresses only, never content.

The first one of each view is also a warning. At most ``_MOST`` ranges are listed for a view; the
bytes of further ones are counted.
"""

from __future__ import annotations

import logging
import threading
from itertools import islice
from typing import TYPE_CHECKING

from ..maps.memory import Run
from ..ranges import Range, union

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..dump import Dump
    from ..maps.memory import Memory
    from ..maps.plan import Plan
    from ..maps.table import Fault

_MOST = 65536
_log = logging.getLogger(__name__)


class BadPages:
    """Unreadable ranges by view: each range of a file once, with its physical address."""

    def __init__(self) -> None:
        self._met: dict[str, list[Range]] = {}
        self._pending: dict[str, list[Range]] = {}
        self._plans: dict[str, Plan] = {}
        self._lost = 0
        self._lock = threading.Lock()

    def add(self, name: str, plan: Plan, faults: Iterable[Fault]) -> None:
        """Record the faults of a read of the view ``name``; warn at its first one."""
        with self._lock:
            first = name not in self._plans
            self._plans[name] = plan
            pending = self._pending.setdefault(name, [])
            pending += [Range(f.offset, f.offset + f.size) for f in faults]
            if len(pending) > 1024:
                self._settle(name)
        if first:
            _log.warning("%s: old memory that cannot be read; see badpages", name)

    def lose(self, size: int) -> None:
        """Count unreadable bytes whose ranges the C server could not keep."""
        with self._lock:
            self._lost += size

    def _settle(self, name: str) -> None:
        met = union(self._met.get(name, []) + self._pending.pop(name, []))
        self._lost += sum(r.size for r in met[_MOST:])
        self._met[name] = met[:_MOST]

    @property
    def size(self) -> int:
        """Unreadable bytes met so far, of all views."""
        with self._lock:
            for name in list(self._pending):
                self._settle(name)
            return self._lost + sum(r.size for met in self._met.values() for r in met)

    def text(self, dump: Dump) -> str:
        """One line for each range: physical address, size, view, and offset in the view."""
        if not self.size:
            return "no unreadable memory so far\n"
        lines = ["# address            size               view         offset\n"]
        with self._lock:
            rows = (
                (n, at, part)
                for n, met in self._met.items()
                for at, part in self._places(n, met, dump)
            )
            for name, at, part in islice(rows, _MOST):
                where = "-" if at is None else f"{at:#x}"
                lines.append(f"{where:<20} {part.size:#018x} {name:<12} {part.start:#x}\n")
            left = self._lost + sum(part.size for _, _, part in rows)
        if left:
            lines.append(f"# and {left:#x} bytes more, in ranges that are not listed\n")
        return "".join(lines)

    def _places(
        self, name: str, met: Iterable[Range], dump: Dump
    ) -> Iterator[tuple[int | None, Range]]:
        """The ranges of a view, cut into pieces that each have one physical address, or none."""
        plan = self._plans[name]
        by_offset = plan.memory is dump.present and not dump.physical
        for place in (place for r in met for place in plan.places(r)):
            if by_offset and place[0] is not None:
                yield from _physical(dump.located, place[0], place[1])
            else:
                yield place


def _physical(located: Memory, offset: int, part: Range) -> Iterator[tuple[int | None, Range]]:
    """The physical addresses of ``part``, whose bytes lie at ``offset`` of a core file."""
    start = part.start
    for piece in located.pieces(offset, offset + part.size):
        size = piece.size
        yield piece.offset if isinstance(piece, Run) else None, Range(start, start + size)
        start += size
