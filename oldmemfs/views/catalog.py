# SPDX-License-Identifier: MIT
"""View: a file in the mount, and the function that makes its layout when it is first needed."""

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
    """A file: ``layout(dump)`` says what it consists of, ``memory(dump)`` where the bytes are."""

    name: str
    layout: Callable[[Dump], Layout]
    opens: str  # the programs that read it, for `summary`
    memory: Callable[[Dump], Memory] = attrgetter("memory")
    scan: Scan | None = None  # the page scan that its layout needs, if it does


@dataclass(frozen=True, slots=True)
class LiveView:
    """A short text that is made again at each open.

    ``reads``: making it reads old memory, so it may have to wait for a slow source. ``sizes``: it
    lists the sizes of other views, so those that need no scan are built first.
    """

    name: str
    text: Callable[[Catalog], str]
    opens: str
    reads: bool = False
    sizes: bool = False


class Catalog:
    """The views of one dump. A view that cannot be built does not affect the others.

    Its error is kept and raised again at each later access. That includes unexpected exceptions: a
    hostile dump must not cost the work of a failed build again and again. Only what failed for lack
    of memory or descriptors is tried again at the next access.
    """

    def __init__(self, dump: Dump, views: Sequence[View | LiveView], badpages: BadPages) -> None:
        self.dump = dump
        self.views = tuple(views)
        self.badpages = badpages
        self._plans: dict[str, Plan | OldmemError] = {}
        self._short: dict[str, ShortageError] = {}  # the last attempt's lack of memory or such
        self._locks: dict[str, threading.Lock] = {}

    def known(self, view: View | LiveView) -> Plan | OldmemError | None:
        """The view's plan, or the error that it will always have; None if it was not built yet."""
        return self._plans.get(view.name)

    def so_far(self, view: View) -> Plan | OldmemError | None:
        """As ``known``, and also a shortage that made the last attempt fail. Builds nothing."""
        return self._plans.get(view.name) or self._short.get(view.name)

    def plan(self, view: View) -> Plan:
        """The view's plan; the first caller builds it, and others wait for that.

        Raises the ``OldmemError`` that prevents it.
        """
        with self._locks.setdefault(view.name, threading.Lock()):
            known = self._plans.get(view.name)
            if known is None:
                try:
                    known = Plan(view.layout(self.dump), view.memory(self.dump))
                except Exception as error:  # a bug in one view must not end the mount
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
            raise known.with_traceback(None)  # each raise adds frames to the error that is kept
        return known

    def outcome(self, view: View, *, wait: bool = True) -> Plan | OldmemError | None:
        """The view's plan or its error; None if that needs a scan and ``wait`` is False."""
        if view.scan and not view.scan.finished and not wait:
            return self.so_far(view)
        try:
            return self.plan(view)
        except OldmemError as error:
            return error

    def cancel(self) -> None:
        """Cancel the running scans, and any that would start later."""
        for view in self.views:
            if isinstance(view, View) and view.scan:
                view.scan.cancel()
