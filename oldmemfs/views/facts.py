# SPDX-License-Identifier: MIT
"""The content of `summary`: which kernel crashed, when, why, on which machine, and the files here.

Its pieces are read by others; each of them may be missing. `problems` says what and why.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..kernel.identity import Identity
from ..kernel.printk import one_line
from ..kernel.taint import FLAGS, letters
from ..maps.sizes import exact, human

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ..kernel.panic import Panic
    from ..kernel.vmcoreinfo import Vmcoreinfo
    from ..ranges import Range

_MOST_RANGES = 64  # ranges listed in the text; the JSON lists all
_END_OF_TIME = 253402300800  # seconds: the year 10000, the end of datetime's range


@dataclass(frozen=True, slots=True)
class ViewLine:
    """A file in the mount; ``opens`` names the programs that read it.

    ``size`` is None if the file cannot be built, or if it has not been built yet; ``pending`` is
    then the state of the scan that it waits for.
    """

    name: str
    size: int | None
    opens: str
    pending: str | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything that `summary` shows; None: not known."""

    machine: str
    release: str | None
    build_id: str | None
    page_size: int | None
    crash_time: int | None  # seconds since 1970
    identity: Identity
    log_read: bool
    panic: Panic | None
    pids: tuple[int | None, ...]  # the task on each CPU; None: the CPU saved no registers
    taint: int | None
    ranges: tuple[Range, ...]
    views: tuple[ViewLine, ...]
    problems: tuple[str, ...]
    pids_are_tasks: bool = True  # False: pr_pid is only the CPU's number in the notes (s390x)

    @property
    def agreed(self) -> bool | None:
        """Whether the registers of the CPU that the log blames belong to the task that it blames.

        None: the log names no CPU or no task, or the notes have no task's pid.
        """
        panic = self.panic
        if panic is None or panic.cpu is None or panic.pid is None:
            return None
        if not self.pids or not self.pids_are_tasks:
            return None
        return panic.cpu < len(self.pids) and self.pids[panic.cpu] == panic.pid

    @property
    def crashed(self) -> str | None:
        """The time of the crash, in UTC."""
        if self.crash_time is None or not 0 <= self.crash_time < _END_OF_TIME:
            return None
        return datetime.fromtimestamp(self.crash_time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def summarize(
    machine: str,
    info: Vmcoreinfo | None,
    panic: Panic | None,
    *,
    log_read: bool = True,
    identity: Identity | None = None,
    pids: Iterable[int | None] = (),
    taint: int | None = None,
    ranges: Iterable[Range] = (),
    views: Iterable[ViewLine] = (),
    problems: Iterable[str] = (),
    pids_are_tasks: bool = True,
) -> Summary:
    """Put the pieces together; if the taint was not found in memory, the log's is taken."""
    return Summary(
        machine=machine,
        release=info.release if info else None,
        build_id=info.build_id if info else None,
        page_size=info.page_size if info else None,
        crash_time=info.crash_time if info else None,
        identity=identity or Identity(),
        log_read=log_read,
        panic=panic,
        pids=tuple(pids),
        taint=panic.taint if taint is None and panic else taint,
        ranges=tuple(ranges),
        views=tuple(views),
        problems=tuple(problems),
        pids_are_tasks=pids_are_tasks,
    )


def as_json(summary: Summary) -> str:
    """The summary for programs, one object in one line; ``memory`` has pairs (start, size)."""
    panic, known = summary.panic, summary.identity
    return json.dumps(
        {
            "release": summary.release,
            "build_id": summary.build_id,
            "machine": summary.machine,
            "version": known.version,
            "hostname": known.hostname,
            "command_line": known.command_line,
            "hardware": known.hardware,
            "uptime": known.uptime,
            "page_size": summary.page_size,
            "crash_time": summary.crashed,
            "log_read": summary.log_read,
            "panic": panic.line if panic else None,
            "cause": panic.cause if panic else None,
            "trigger": panic.trigger if panic else None,
            "cpu": panic.cpu if panic else None,
            "pid": panic.pid if panic else None,
            "comm": panic.comm if panic else None,
            "registers_agree": summary.agreed,
            "cpus": len(summary.pids),
            "cpu_pids": summary.pids,
            "taint": summary.taint,
            "taint_letters": None if summary.taint is None else letters(summary.taint),
            "memory_size": sum(r.size for r in summary.ranges),
            "memory": [(r.start, r.size) for r in summary.ranges],
            "views": [asdict(view) for view in summary.views],
            "problems": summary.problems,
        }
    ) + "\n"  # fmt: skip


def as_text(summary: Summary) -> str:
    """The summary for people; control characters of the dead kernel are shown in hex."""
    lines = [f"{name:<11} {value}" for name, value in _facts(summary)]
    lines += ["", *_views(summary.views)] if summary.views else []
    if summary.problems:
        lines += ["", *(f"{'problem':<11} {problem}" for problem in summary.problems)]
    return "".join(one_line(line) + "\n" for line in lines)


def _facts(summary: Summary) -> Iterator[tuple[str, str]]:
    unknown = "unknown"
    panic = summary.panic
    yield "kernel", summary.release or unknown
    yield "build-id", summary.build_id or unknown
    known = summary.identity
    for name, value in (("version", known.version), ("command", known.command_line)):
        if value is not None:
            yield name, value
    yield "machine", summary.machine
    for name, value in (("hardware", known.hardware), ("hostname", known.hostname)):
        if value is not None:
            yield name, value
    yield "crashed", summary.crashed or unknown
    if known.uptime is not None:
        yield "uptime", _duration(known.uptime)
    none = "none in the log" if summary.log_read else "unknown: the log could not be read"
    yield "panic", (panic and panic.line) or none
    if panic and panic.cause:
        yield "cause", panic.cause
    if panic and panic.trigger:
        yield "began with", panic.trigger
    if panic and (panic.cpu is not None or panic.pid is not None or panic.comm is not None):
        agreed = "; its registers are of another task" if summary.agreed is False else ""
        yield "blamed", ", ".join(_blamed(panic)) + agreed
    with_registers = sum(pid is not None for pid in summary.pids)
    yield "CPUs", f"{len(summary.pids)}, {with_registers} of them with registers"
    yield "taint", unknown if summary.taint is None else _taint(summary.taint)
    yield "memory", f"{human(sum(r.size for r in summary.ranges))} in {len(summary.ranges)} ranges"
    for r in summary.ranges[:_MOST_RANGES]:
        yield "", f"{r} {human(r.size)}"
    if len(summary.ranges) > _MOST_RANGES:
        yield "", f"and {len(summary.ranges) - _MOST_RANGES} more"


def _duration(seconds: float) -> str:
    """A duration for people: 9.8 seconds, 04:05:06, 3 days 04:05:06."""
    if seconds < 60:
        return f"{seconds:.1f} seconds"
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return (
        f"{days} days {hour:02}:{minute:02}:{second:02}"
        if days
        else f"{hour:02}:{minute:02}:{second:02}"
    )


def _blamed(panic: Panic) -> Iterator[str]:
    if panic.cpu is not None:
        yield f"CPU {panic.cpu}"
    if panic.pid is not None:
        yield f"pid {panic.pid}" + ("" if panic.comm is None else f" ({panic.comm})")
    elif panic.comm is not None:
        yield panic.comm


def _taint(mask: int) -> str:
    names = ", ".join(name for bit, (_, name) in enumerate(FLAGS) if mask >> bit & 1)
    return f"{letters(mask)} ({names or 'unknown'})" if mask else "none"


def _views(views: Sequence[ViewLine]) -> Iterator[str]:
    width = max(len(view.name) for view in views)
    sizes = [_view_size(view) for view in views]
    room = max(16, *map(len, sizes))
    for view, size in zip(views, sizes, strict=True):
        yield f"{view.name:<{width}} {size:>{room}}  {view.opens}"


def _view_size(view: ViewLine) -> str:
    if view.size is None:
        return view.pending or "not available"
    return exact(view.size)
