"""What could not be read so far: never silent, bounded, without a byte of content."""

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

_MOST = 65536  # ranges kept; what comes after is counted
_log = logging.getLogger(__name__)


class BadPages:
    """Unreadable ranges met so far, by view: each file range once, with its address."""

    def __init__(self) -> None:
        self._met: dict[str, list[Range]] = {}
        self._pending: dict[str, list[Range]] = {}
        self._plans: dict[str, Plan] = {}
        self._lost = 0
        self._lock = threading.Lock()

    def add(self, name: str, plan: Plan, faults: Iterable[Fault]) -> None:
        """Note what a read of view ``name`` could not get; the first time is worth a warning."""
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
        """Count bytes that were met but could not be told apart."""
        with self._lock:
            self._lost += size

    def _settle(self, name: str) -> None:
        met = union(self._met.get(name, []) + self._pending.pop(name, []))
        self._lost += sum(r.size for r in met[_MOST:])
        self._met[name] = met[:_MOST]

    @property
    def size(self) -> int:
        """Bytes met so far, of all views."""
        with self._lock:
            for name in list(self._pending):
                self._settle(name)
            return self._lost + sum(r.size for met in self._met.values() for r in met)

    def text(self, dump: Dump) -> str:
        """One line a range: physical address, size, view and offset in it."""
        if not self.size:
            return "none met so far\n"
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
            lines.append(f"# and {left:#x} bytes more, in ranges too many to list\n")
        return "".join(lines)

    def _places(
        self, name: str, met: Iterable[Range], dump: Dump
    ) -> Iterator[tuple[int | None, Range]]:
        """What was met in a view, with the physical address of each piece that has one."""
        plan = self._plans[name]
        by_offset = plan.memory is dump.present and not dump.physical
        for place in (place for r in met for place in plan.places(r)):
            if by_offset and place[0] is not None:
                yield from _physical(dump.located, place[0], place[1])
            else:
                yield place


def _physical(located: Memory, offset: int, part: Range) -> Iterator[tuple[int | None, Range]]:
    """A part of a file whose memory lies at ``offset`` of a core, cut at the core's PT_LOADs."""
    start = part.start
    for piece in located.pieces(offset, offset + part.size):
        size = piece.size
        yield piece.offset if isinstance(piece, Run) else None, Range(start, start + size)
        start += size
