"""Builds: the work that requests wait for, done in threads, so that every other file is served.

A view is built by one thread, however many requests wait for it::

    stat vmcore-kern ---+
    stat vmcore-kern ---+--> one thread: the scan        cat status ---> no thread at all
    open vmcore-kern ---+

Scans, other views and texts have a number of threads each: whoever waits for a scan, or for a
source that does not answer, takes no thread from the others. When ``run`` is cancelled the threads
are left to themselves: what they wait for may never come, and the process is about to end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from ..errors import OldmemError, ShortageError, shortage
from ..views.catalog import View

if TYPE_CHECKING:
    from ..maps.plan import Plan
    from ..maps.table import Fault, Reader, Table
    from ..views.catalog import Catalog, LiveView

_SCANS = 2  # vmcore-kern and filter-report: one of them scans, the other one waits for it
_VIEWS = 16
_TEXTS = 4
_READS = 32  # of a source that hangs, before reads of other files wait as well
_PATIENCE = 1.0  # seconds that `status` waits for the sizes of the other views


@dataclass(slots=True)
class _Build:
    """A view that is being built since ``begun``; ``result`` is there once ``done`` is."""

    begun: float = field(default_factory=trio.current_time)
    done: trio.Event = field(default_factory=trio.Event)
    result: Plan | OldmemError = field(default_factory=lambda: OldmemError("it was not built"))


class Builds:
    """The catalog's views, built in threads while ``run`` runs."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._running: dict[str, _Build] = {}
        self._nursery: trio.Nursery | None = None
        self._scans = trio.CapacityLimiter(_SCANS)
        self._views = trio.CapacityLimiter(_VIEWS)
        self._texts = trio.CapacityLimiter(_TEXTS)
        self._reads = trio.CapacityLimiter(_READS)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve the other calls, until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    async def plan(self, view: View) -> Plan:
        """The view's plan. Raises the ``OldmemError`` for which it has none."""
        known = self._catalog.known(view)
        if known is None:
            build = self._build_of(view)
            await build.done.wait()
            known = build.result
        if isinstance(known, OldmemError):
            raise known.with_traceback(None)
        return known

    def _build_of(self, view: View) -> _Build:
        """The one that runs, or one that is started now."""
        build = self._running.get(view.name)
        if build is None:
            assert self._nursery, "run first"
            build = self._running[view.name] = _Build()
            self._nursery.start_soon(self._build, view, build)
        return build

    async def _build(self, view: View, build: _Build) -> None:
        limiter = self._scans if view.scan else self._views
        try:
            build.result = await trio.to_thread.run_sync(
                self._built, view, abandon_on_cancel=True, limiter=limiter
            )
        except (RuntimeError, MemoryError, OSError) as error:  # no thread could be started
            build.result = shortage(error) or ShortageError(f"no thread: {error}")
        finally:
            del self._running[view.name]
            build.done.set()

    def _built(self, view: View) -> Plan | OldmemError:
        try:
            return self._catalog.plan(view)
        except OldmemError as error:
            return error

    async def text(self, view: LiveView) -> bytes:
        """The view's text as it is now."""
        if view.reads:
            run = trio.to_thread.run_sync
            text = await run(view.text, self._catalog, abandon_on_cancel=True, limiter=self._texts)
            return text.encode()
        if view.sizes:
            await self._settle()
        return view.text(self._catalog).encode()

    async def _settle(self) -> None:
        """Let the views be built that take no scan; one that hangs is not waited for."""
        wanted = [
            view
            for view in self._catalog.views
            if isinstance(view, View) and not view.name.startswith("cpu/")
            if (not view.scan or view.scan.finished) and self._catalog.known(view) is None
        ]
        for build in [self._build_of(view) for view in wanted]:
            with trio.move_on_at(build.begun + _PATIENCE):
                await build.done.wait()

    async def read(
        self, reader: Reader, table: Table, offset: int, size: int
    ) -> tuple[memoryview, list[Fault]]:
        """As ``reader.read``, in a thread."""
        return await trio.to_thread.run_sync(
            reader.read, table, offset, size, abandon_on_cancel=True, limiter=self._reads
        )
