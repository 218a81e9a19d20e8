"""What the log says of the crash: the panic, its cause, what it began with, and who it was.

The panic is the last ``Kernel panic - not syncing``; a kernel that is dumped from within an oops
prints none. Its words lead to a cause (``causes``), the cause to the lines that told of it before.
An oops that came earlier still is the beginning, unless the hardware failed.

Who it was stands in those lines, or else in the header of a backtrace: right after the panic, or
before it if it was an oops that ended so.

Only the kernel's own records count: what programs write to /dev/kmsg has another facility.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from .causes import CAUSES, Cause, Grade
from .printk import one_line
from .signs import Lines, Signs
from .taint import mask_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .printk import Log, Record

_PANIC = re.compile(rb"(?<!end )Kernel panic - not syncing(?:: )?")  # "end": the panic's last line
_WHO = (  # Kdump since 4.18, UID since 6.12; ia64 has the CPU in the middle; the rest before 3.11
    re.compile(
        rb"(?:CPU: (?P<cpu>\d{1,9}) (?:UID: \d{1,10} )?PID: ?|Pid: ?)(?P<pid>\d{1,9}),?"
        rb"(?: CPU:? (?P<cpu2>\d{1,9}),?)? +[Cc]omm: +(?P<comm>.{1,64}?)"
        rb"(?: +(?:Kdump: loaded )?(?:(?P<clean>Not tainted)|Tainted: (?P<taint>[A-Z ]+))|\s*$)"
    ),
    re.compile(rb"^Process (?P<comm>.{1,64}?) \(pid: (?P<pid>\d{1,9}),"),
    re.compile(
        rb"TASK = \w+\[(?P<pid>\d{1,9})\] '(?P<comm>.{1,64}?)' THREAD: \w+(?: CPU: (?P<cpu>\d+))?"
    ),
)
_CPU = re.compile(rb"^CPU:? (?P<cpu>\d{1,9})(?:\s|$)")  # alone in its line before 3.11
_AFTER = 64  # records in which the header of a backtrace follows what it is of
_BEFORE = 512
_LONE = 16  # records that a line with the CPU alone stands before the header
_DETAILS = 8  # records in which the details of a sign follow it


@dataclass(frozen=True, slots=True)
class Panic:
    """What can be told of the crash; None is what the log does not say."""

    line: str | None
    cause: str | None
    trigger: str | None
    cpu: int | None
    pid: int | None
    comm: str | None
    taint: int | None


@dataclass(slots=True)
class _Who:
    """Whom lines name; None is what they do not say."""

    cpu: int | None = None
    pid: int | None = None
    comm: bytes | None = None

    @classmethod
    def from_match(cls, found: re.Match[bytes] | None) -> _Who:
        """Whom the groups of a match name."""
        named = found.groupdict() if found else {}
        cpu, pid = named.get("cpu") or named.get("cpu2"), named.get("pid")
        return cls(int(cpu) if cpu else None, int(pid) if pid else None, named.get("comm"))

    def and_of(self, other: _Who) -> _Who:
        """Completed by what the other one says."""
        return _Who(
            other.cpu if self.cpu is None else self.cpu,
            other.pid if self.pid is None else self.pid,
            other.comm if self.comm is None else self.comm,
        )

    def fits(self, other: _Who) -> bool:
        """Whether nothing that both name differs."""
        pairs = ((self.cpu, other.cpu), (self.pid, other.pid), (self.comm, other.comm))
        return all(a is None or b is None or a == b for a, b in pairs)


class _Header(NamedTuple):
    """The header of a backtrace."""

    who: _Who
    taint: int | None


def find_panic(log: Log) -> Panic | None:
    """The crash that ``log`` tells of, or None if it tells of none."""
    lines = Lines(log)
    at = next((i for i in reversed(range(len(lines))) if _is_panic(lines[i])), None)
    signs = Signs.before(lines, len(lines) if at is None else at)
    if at is None and signs.oops is None:
        return None
    cause = _cause(lines[at], signs) if at is not None else None
    began = _beginning(cause, signs)
    if began is None and at is not None and (cause is None or cause.vague):
        began = signs.newest(at)
    if began and (cause is None or _says_less(cause, began[1], signs)):
        cause = began[1]
    end = signs.last_oops if at is None else at
    own = signs.begin(cause) if cause else None
    who = _named(lines, end if own is None else own, cause) if cause else _Who()
    spans = [] if own is None or who == _Who() else [range(own, own + _AFTER)]
    spans += [range(end, end + _AFTER), range(end - 1, max(end - _BEFORE, 0) - 1, -1)]
    header = _header(lines, spans, who) or _header(lines, spans, _Who())
    if header and who.fits(header.who):
        who = who.and_of(header.who)
    if at is not None and who == _Who():
        who = _caller(lines.record(at))
    return Panic(
        line=None if at is None else _shown(lines.record(at).text),
        cause=cause.sentence if cause else None,
        trigger=_shown(lines.record(began[0]).text) if began else None,
        cpu=who.cpu,
        pid=who.pid,
        comm=None if who.comm is None else _shown(who.comm),
        taint=header.taint if header else None,
    )


def _is_panic(line: bytes) -> bool:
    return b"Kernel panic" in line and _PANIC.search(line) is not None


def _cause(line: bytes, signs: Signs) -> Cause | None:
    """The cause that the panic's words lead to: of several the one whose sign is the nearest."""
    words = _PANIC.split(line, maxsplit=1)[-1]
    told = [cause for cause in CAUSES if cause.panic and cause.panic.search(words)]
    signed = [cause for cause in told if cause in signs.series]
    return (
        max(signed, key=lambda cause: signs.series[cause].last)
        if signed
        else next(iter(told), None)
    )


def _beginning(cause: Cause | None, signs: Signs) -> tuple[int, Cause] | None:
    """The line with which the crash began."""
    own = signs.begin(cause) if cause else None
    found = [] if cause is None or own is None else [(own, cause)]
    if signs.oops and not (found and cause and cause.grade is Grade.HARDWARE):
        found.append(signs.oops)
    return min(found, key=lambda pair: pair[0], default=None)


def _says_less(cause: Cause, began: Cause, signs: Signs) -> bool:
    """Whether the beginning tells more than the panic's words do."""
    both = cause.grade is began.grade is Grade.OOPS
    return cause.vague and (both or cause not in signs.series)


def _named(lines: Lines, at: int, cause: Cause) -> _Who:
    """Whom the sign in line ``at`` names, and the details that follow it."""
    who = _Who()
    for sign in cause.signs:
        who = who.and_of(_Who.from_match(sign.pattern.search(lines[at])))
    if cause.details:
        for line in lines[at + 1 : at + 1 + _DETAILS]:
            who = who.and_of(_Who.from_match(cause.details.search(line)))
    return who


def _header(lines: Lines, spans: Sequence[range], wanted: _Who) -> _Header | None:
    """The first header of a backtrace that may be of ``wanted``."""
    near = [i for span in spans for i in span if i < len(lines)]
    for pattern in _WHO:
        for i in near:
            found = pattern.search(lines[i])
            if found is None:
                continue
            who = _Who.from_match(found)
            if who.cpu is None:
                who = who.and_of(_lone_cpu(lines[max(i - _LONE, 0) : i]))
            if wanted.fits(who):
                return _Header(who, _taint(found.groupdict()))
    return None


def _taint(named: Mapping[str, bytes | None]) -> int | None:
    """The taint that a header tells, if it does."""
    if named.get("clean"):
        return 0
    letters = named.get("taint")
    return mask_of(letters.decode()) if letters else None


def _lone_cpu(lines: Sequence[bytes]) -> _Who:
    """The processor that a line before the header names."""
    return next(
        (_Who.from_match(m) for line in reversed(lines) if (m := _CPU.search(line))), _Who()
    )


def _caller(record: Record) -> _Who:
    """Who printed it, where the kernel notes callers: the task, or outside of tasks the CPU."""
    name = record.caller_name
    if name is None:
        return _Who()
    number = int(name[1:])
    return _Who(cpu=number) if name[0] == "C" else _Who(pid=number)


def _shown(text: bytes) -> str:
    """Its first line, fit for a terminal."""
    return one_line(text.split(b"\n", 1)[0].decode(errors="surrogateescape"))
