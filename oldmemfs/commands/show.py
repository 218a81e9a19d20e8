# SPDX-License-Identifier: MIT
"""``--list`` and ``--info``: print what a dump has, without mounting it."""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import TYPE_CHECKING

from .. import views
from ..errors import OldmemError, UsageError
from ..maps.plan import Plan
from ..sources import open_source
from ..views.catalog import Catalog, LiveView, View
from ..views.unreadable import BadPages
from .output import put, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..options import Options

_MOST_WARNINGS = 100  # on the terminal; `status` has more
_NO_OUTPUT = 3  # exit status of the process for one dump: it could not print, and has said why
_log = logging.getLogger(__name__)


def open_catalog(path: str | None, options: Options) -> Catalog:
    """The catalog of the dump at ``path``; its warnings are printed on the terminal.

    None is the old memory of this machine. Raises ``OldmemError`` if it cannot be opened.
    """
    dump = open_source(path, options)
    catalog = Catalog(dump, views.make_views(dump, options), BadPages())
    for warning in dump.warnings[:_MOST_WARNINGS]:
        _log.warning("%s", visible(warning))
    if len(dump.warnings) > _MOST_WARNINGS:
        _log.warning("%d more warnings", len(dump.warnings) - _MOST_WARNINGS)
    return catalog


def layouts(paths: Sequence[str | None], options: Options) -> int:
    """Print the layout of every view; returns 1 if a layout cannot be made, else 0."""
    if len(paths) > 1:
        raise UsageError("--list takes one SOURCE")
    catalog = open_catalog(paths[0], options)
    failed = False
    for view in catalog.views:
        if not isinstance(view, View):
            continue
        plan = catalog.outcome(view)
        if isinstance(plan, Plan):
            put(f"{view.name}:\n{plan.layout.describe()}")
        else:
            failed = True
            put(f"{view.name}:\ncannot be read: {plan}\n")
    return int(failed)


def info(paths: Sequence[str | None], options: Options, *, scan: bool, as_json: bool) -> int:
    """Print the summary of the dump, or with ``as_json`` a line of JSON for each of ``paths``.

    With ``scan``, struct pages are scanned first, so that the size of `vmcore-kern` is known.
    Returns 1 if a dump cannot be opened (``as_json``), else 0.
    """
    if as_json:
        alone = len(paths) == 1
        return max((_line if alone else _apart)(path, options, scan=scan) for path in paths)
    if len(paths) > 1:
        raise UsageError("--info takes one SOURCE; with --json it takes several")
    catalog = open_catalog(paths[0], options)
    put(_text(catalog, "summary", scan=scan))
    if not scan:
        put("\nadd --scan to learn the sizes that take a scan\n")
    return 0


def _text(catalog: Catalog, name: str, *, scan: bool) -> str:
    for view in catalog.views:
        if scan and isinstance(view, View) and view.scan:
            catalog.outcome(view)
    (wanted,) = (v for v in catalog.views if v.name == name)
    assert isinstance(wanted, LiveView)
    return wanted.text(catalog)


def _line(path: str | None, options: Options, *, scan: bool) -> int:
    """Print one dump's line: its source, then the keys of `summary.json`, or ``error``."""
    failed = True
    told: dict[str, object] = {"source": path}
    try:
        told |= json.loads(_text(open_catalog(path, options), "summary.json", scan=scan))
        failed = False
    except OldmemError as error:
        told["error"] = str(error)
    except Exception as error:  # a bug that one dump meets must not lose the lines of the others
        told["error"] = f"unexpected {type(error).__name__}: {error}"
    put(json.dumps(told) + "\n")
    return int(failed)


def _apart(path: str | None, options: Options, *, scan: bool) -> int:
    """``_line`` in a process of its own: when it ends, its descriptors and memory are free."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = _line(path, options, scan=scan)
        except OldmemError as error:  # standard output cannot be written
            print(f"oldmemfs: {visible(str(error))}", file=sys.stderr)
            status = _NO_OUTPUT
        except SystemExit as end:
            status = int(end.code or 0)
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status < 0:
        put(json.dumps({"source": path, "error": f"reading it ended by signal {-status}"}) + "\n")
        return 1
    if status > 1:  # the output cannot be written, or its reader is gone
        raise SystemExit(1 if status == _NO_OUTPUT else status)
    return status
