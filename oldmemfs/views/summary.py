# SPDX-License-Identifier: MIT
"""`summary` and `summary.json`: which kernel crashed, when, why, and the files in the mount.

Each piece may be missing; the text then says what is missing, and why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..elf import registers
from ..elf.notes import notes
from ..errors import OldmemError
from ..kernel.arch import machine, machine_name
from ..maps.plan import Plan
from .catalog import LiveView, View
from .facts import Summary, ViewLine, as_json, as_text, summarize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    from ..dump import Dump
    from .catalog import Catalog

    T = TypeVar("T")


def _pids(dump: Dump) -> Iterator[int | None]:
    header = dump.header
    status = machine(header.machine).status
    for cpu in dump.cpus:
        first = next(notes(cpu, header.big_endian), None)
        yield first and registers.pid(status, header.big_endian, first.desc)


def _views(catalog: Catalog) -> Iterator[ViewLine]:
    for view in catalog.views:
        if isinstance(view, View) and not view.name.startswith("cpu/"):
            known = catalog.outcome(view, wait=False)
            size = known.size if isinstance(known, Plan) else None
            pending = view.scan.progress() if known is None and view.scan else None
            yield ViewLine(view.name, size, view.opens, pending)


def _summary(catalog: Catalog) -> Summary:
    dump = catalog.dump
    problems: list[str] = list(dump.warnings)

    def attempt(piece: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except Exception as error:  # one broken piece must not cost the others
            kind = "" if isinstance(error, OldmemError) else f"unexpected {type(error).__name__}: "
            problems.append(f"{piece}: {kind}{error}")
            return None

    log = attempt("log", lambda: dump.log)
    panic = attempt("panic", lambda: dump.panic) if log else None
    taint = dump.taint
    if isinstance(taint, OldmemError):
        problems.append(f"taint: {taint}")
    known = machine(dump.header.machine)
    return summarize(
        machine_name(dump.header),
        dump.vmcoreinfo,
        panic,
        log_read=log is not None,
        identity=attempt("identity", lambda: dump.identity),
        pids=attempt("registers", lambda: list(_pids(dump))) or (),
        taint=None if isinstance(taint, OldmemError) else taint,
        ranges=dump.memory.ranges,
        views=_views(catalog),
        problems=problems,
        pids_are_tasks=known.status is None or known.status.has_pid,
    )


def _text(catalog: Catalog) -> str:
    return as_text(_summary(catalog))


def _json(catalog: Catalog) -> str:
    return as_json(_summary(catalog))


VIEWS = (
    LiveView("summary", _text, "cat", reads=True),
    LiveView("summary.json", _json, "jq, programs", reads=True),
)
