"""View: a name in the mount and one function that draws it, evaluated once, on demand."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from ..errors import OldmemError, ShortageError, shortage
from ..maps.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..dump import Dump
    from ..filter.scan import Scan
    from ..maps.layout import Layout
    from ..maps.memory import Memory
    from .unreadable import BadPages

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class View:
    """A file: ``layout(dump)`` draws it over ``memory(dump)``."""

    name: str
    layout: Callable[[Dump], Layout]
    opens: str  # for people: what reads it
    memory: Callable[[Dump], Memory] = attrgetter("memory")
    scan: Scan | None = None  # what it has to wait for, when it is not just arithmetic


@dataclass(frozen=True, slots=True)
class LiveView:
    """A short text that is written anew whenever somebody opens it.

    One that ``reads`` looks into old memory, and so may have to wait for a slow source. One that
    tells ``sizes`` is best asked once the other views are built.
    """

    name: str
    text: Callable[[Catalog], str]
    opens: str
    reads: bool = False
    sizes: bool = False


class Catalog:
    """The views of one dump. Each fails alone: its error is kept and told again.

    So is one that nobody expected: a dump may be hostile, and must not be met twice. What failed
    for lack of memory or descriptors is tried again when it is next asked for.
    """

    def __init__(self, dump: Dump, views: Sequence[View | LiveView], badpages: BadPages) -> None:
        self.dump = dump
        self.views = tuple(views)
        self.badpages = badpages
        self._plans: dict[str, Plan | OldmemError] = {}
        self._short: dict[str, ShortageError] = {}  # why the last attempt failed, for this moment
        self._locks: dict[str, threading.Lock] = {}

    def known(self, view: View | LiveView) -> Plan | OldmemError | None:
        """The view's plan, or why it will never have one, as far as that is known by now."""
        return self._plans.get(view.name)

    def so_far(self, view: View) -> Plan | OldmemError | None:
        """As ``known``, or why the last attempt failed; None if there was none. Builds nothing."""
        return self._plans.get(view.name) or self._short.get(view.name)

    def plan(self, view: View) -> Plan:
        """The view's plan, built now if it was not; one builder at a time.

        Raises the ``OldmemError`` for which it cannot be built.
        """
        with self._locks.setdefault(view.name, threading.Lock()):
            known = self._plans.get(view.name)
            if known is None:
                try:
                    known = Plan(view.layout(self.dump), view.memory(self.dump))
                except Exception as error:  # no view may take another one down with it
                    if short := shortage(error):
                        self._short[view.name] = short
                        raise short.with_traceback(None) from None
                    if isinstance(error, OldmemError):
                        known = error
                    else:
                        _log.exception("%s: unexpected error", view.name)
                        known = OldmemError(f"unexpected {type(error).__name__}: {error}")
                self._plans[view.name] = known
        if isinstance(known, OldmemError):
            raise known.with_traceback(None)  # a kept error would gather every raise's frames
        return known

    def outcome(self, view: View, *, wait: bool = True) -> Plan | OldmemError | None:
        """The view's plan, or why it has none; None if that takes a scan and ``wait`` is not."""
        if view.scan and not view.scan.finished and not wait:
            return self.so_far(view)
        try:
            return self.plan(view)
        except OldmemError as error:
            return error

    def cancel(self) -> None:
        """End the scans that run; none begins any more."""
        for view in self.views:
            if isinstance(view, View) and view.scan:
                view.scan.cancel()
