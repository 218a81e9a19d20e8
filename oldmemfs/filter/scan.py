# SPDX-License-Identifier: MIT
"""Scan: the page scan of one dump at one level; the first caller of ``result`` runs it.

It runs in that caller's thread, once. Other threads can ask for its progress, or cancel it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING

from ..errors import OldmemError, shortage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..dump import Dump
    from .classes import Watch
    from .filtered import Filtered

_REPORT_AFTER = 2.0  # seconds between two progress messages in the log; a short scan writes none
_log = logging.getLogger(__name__)


class Scan:
    """The filtered dump, made when it is first asked for."""

    def __init__(self, level: int) -> None:
        self.level = level
        self._lock = threading.Lock()
        self._watch: Watch | None = None
        self._result: Filtered | OldmemError | None = None
        self._cancelled = False

    def result(self, dump: Dump) -> Filtered:
        """The filtered form of ``dump``, which must be the same one in every call.

        Raises the ``OldmemError`` that made the scan fail: the same one in every call. Only a
        shortage of memory or descriptors is not kept: the next call scans again.
        """
        with self._lock:
            if self._result is None:
                try:
                    self._result = self._run(dump)
                except OldmemError as error:
                    if shortage(error):
                        raise
                    self._result = error
        if isinstance(self._result, OldmemError):
            raise self._result
        return self._result

    def _run(self, dump: Dump) -> Filtered:
        from .classes import Watch
        from .filtered import filtered

        self._watch = Watch()
        if self._cancelled:
            self._watch.cancel()
        with self._reporting():
            return filtered(dump.kernel, dump.header, dump.notes, self.level, self._watch)

    @property
    def finished(self) -> bool:
        """Whether the result or the failure is known, so that ``result`` does not scan."""
        return self._result is not None

    def cancel(self) -> None:
        """Make a running scan, and every later one, end with an error."""
        self._cancelled = True
        if self._watch:
            self._watch.cancel()

    def progress(self) -> str:
        """The state of the scan, for `status` and `summary`."""
        if self._watch is None:
            return "not scanned yet: a stat starts it"
        # `done` can exceed `total`: it also counts struct pages of holes between memory.
        share = min(100 * self._watch.done // max(self._watch.total, 1), 100)
        return f"scanning pages: {share}% done"

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        over = threading.Event()

        def report() -> None:
            while not over.wait(_REPORT_AFTER):
                _log.warning("vmcore-kern: %s", self.progress())

        reporter = threading.Thread(target=report, daemon=True)
        reporter.start()
        try:
            yield
        finally:
            over.set()
            reporter.join()
