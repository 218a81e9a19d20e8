"""Scan: the page scan of one dump at one level, run once, by whoever asks first.

It runs in that caller's thread. Others may watch how far it is, or end it.
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

_TELL_AFTER = 2.0  # seconds: a scan that takes longer says how far it is, this often
_log = logging.getLogger(__name__)


class Scan:
    """The pages of a dump, told apart when first asked for."""

    def __init__(self, level: int) -> None:
        self.level = level
        self._lock = threading.Lock()
        self._watch: Watch | None = None
        self._result: Filtered | OldmemError | None = None
        self._cancelled = False

    def result(self, dump: Dump) -> Filtered:
        """What is kept of ``dump``, which must be the same one every time.

        Raises the ``OldmemError`` for which nothing can be told apart.
        """
        with self._lock:
            if self._result is None:
                try:
                    self._result = self._run(dump)
                except OldmemError as error:
                    if shortage(error):  # the next one to ask tries again
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
        with self._telling():
            return filtered(dump.kernel, dump.header, dump.notes, self.level, self._watch)

    @property
    def finished(self) -> bool:
        """Whether its result, or its failure, is known: what is drawn from it costs no scan."""
        return self._result is not None

    def cancel(self) -> None:
        """Make a scan that runs, or would run, end with an error."""
        self._cancelled = True
        if self._watch:
            self._watch.cancel()

    def progress(self) -> str:
        """How far it is, in a few words."""
        if self._watch is None:
            return "not scanned yet: stat it"
        # Holes between the pages may have been looked at too: they are not in the total.
        share = min(100 * self._watch.done // max(self._watch.total, 1), 100)
        return f"telling its pages apart: {share}% done"

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        over = threading.Event()

        def tell() -> None:
            while not over.wait(_TELL_AFTER):
                _log.warning("vmcore-kern: %s", self.progress())

        teller = threading.Thread(target=tell, daemon=True)
        teller.start()
        try:
            yield
        finally:
            over.set()
            teller.join()
