# SPDX-License-Identifier: MIT
"""Builds: views are built in threads, so that other files are served while requests wait for them.

One thread builds a view, also if several requests wait for it::

    stat vmcore-kern ---+
    stat vmcore-kern ---+--> one thread: the scan        cat status ---> no thread at all
    open vmcore-kern ---+

Scans, other views, texts and reads each have a limit of threads of their own, so that requests
which wait for a scan or for a source that hangs take no thread from the others. When ``run`` is
cancelled, its threads are abandoned and not waited for: their source may hang forever, and the
process is about to exit.
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

# Threads, at most:
_SCANS = 2  # vmcore-kern and filter-report: one of them scans, the other one waits for it
_VIEWS = 16
_TEXTS = 4
_READS = 32  # so many reads may wait for a source that hangs before reads of other files wait, too
_PATIENCE = 1.0  # seconds that `status` waits for the size of a view, from when its build began


@dataclass(slots=True)
class _Build:
    """The build of a view: started at ``begun`` (trio's clock); ``done`` is set with ``result``."""

    begun: float = field(default_factory=trio.current_time)
    done: trio.Event = field(default_factory=trio.Event)
    result: Plan | OldmemError = field(default_factory=lambda: OldmemError("it was not built"))


class Builds:
    """Builds the views of a catalog in threads. The other methods need ``run`` to be running."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._running: dict[str, _Build] = {}
        self._nursery: trio.Nursery | None = None
        self._scans = trio.CapacityLimiter(_SCANS)
        self._views = trio.CapacityLimiter(_VIEWS)
        self._texts = trio.CapacityLimiter(_TEXTS)
        self._reads = trio.CapacityLimiter(_READS)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold the nursery in which the builds run, until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    async def plan(self, view: View) -> Plan:
        """The view's plan, built now if need be. Raises the ``OldmemError`` of a failed build."""
        known = self._catalog.known(view)
        if known is None:
            build = self._build_of(view)
            await build.done.wait()
            known = build.result
        if isinstance(known, OldmemError):
            raise known.with_traceback(None)
        return known

    def _build_of(self, view: View) -> _Build:
        """The running build of the view, or one that is started now."""
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
        """The text that a live view has now."""
        if view.reads:
            run = trio.to_thread.run_sync
            text = await run(view.text, self._catalog, abandon_on_cancel=True, limiter=self._texts)
            return text.encode()
        if view.sizes:
            await self._settle()
        return view.text(self._catalog).encode()

    async def _settle(self) -> None:
        """Build the views that need no scan, so that their sizes are known.

        Waits for each at most ``_PATIENCE`` seconds, because its source may hang.
        """
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
