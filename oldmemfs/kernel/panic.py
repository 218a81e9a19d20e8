# SPDX-License-Identifier: MIT
"""What the log says about the crash: the panic, its cause, how it began, and the task to blame.

1. The panic is the last line ``Kernel panic - not syncing``. There is none if an oops itself made
   the dump.
2. The panic message gives the cause (``causes``), and the cause gives the lines before the panic
   that belong to it. The first of these is the beginning; an oops before them is the beginning
   instead, unless the cause is a hardware error.
3. The task and CPU to blame are named in these lines, or in the header of a backtrace: after the
   panic, or before it if an oops led to the panic.

Only the kernel's own records count, not what programs write to /dev/kmsg (facility not 0).
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

# "end Kernel panic" is the last line that a panic prints.
_PANIC = re.compile(rb"(?<!end )Kernel panic - not syncing(?:: )?")
# The header of a backtrace. "Kdump:" since 4.18, "UID:" since 6.12; "CPU" after the pid on ia64;
# "Pid:" before 3.11.
_WHO = (
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
_CPU = re.compile(rb"^CPU:? (?P<cpu>\d{1,9})(?:\s|$)")  # before 3.11 the CPU had its own line
_AFTER = 64  # how many records after a sign or panic the header of its backtrace is searched
_BEFORE = 512  # and how many records before a panic
_LONE = 16  # how many records before the header the line with the CPU is searched
_DETAILS = 8  # how many records after a sign its details are searched


@dataclass(frozen=True, slots=True)
class Panic:
    """What the log says about the crash; None: it does not say."""

    line: str | None  # the panic
    cause: str | None  # a sentence of ``causes``
    trigger: str | None  # the line with which the crash began
    cpu: int | None
    pid: int | None
    comm: str | None
    taint: int | None


@dataclass(slots=True)
class _Who:
    """The task and the CPU that lines name; None: not named."""

    cpu: int | None = None
    pid: int | None = None
    comm: bytes | None = None

    @classmethod
    def from_match(cls, found: re.Match[bytes] | None) -> _Who:
        """What the groups of a match name."""
        named = found.groupdict() if found else {}
        cpu, pid = named.get("cpu") or named.get("cpu2"), named.get("pid")
        return cls(int(cpu) if cpu else None, int(pid) if pid else None, named.get("comm"))

    def and_of(self, other: _Who) -> _Who:
        """A copy with what is missing taken from ``other``."""
        return _Who(
            other.cpu if self.cpu is None else self.cpu,
            other.pid if self.pid is None else self.pid,
            other.comm if self.comm is None else self.comm,
        )

    def fits(self, other: _Who) -> bool:
        """Whether the two do not contradict each other."""
        pairs = ((self.cpu, other.cpu), (self.pid, other.pid), (self.comm, other.comm))
        return all(a is None or b is None or a == b for a, b in pairs)


class _Header(NamedTuple):
    """The header of a backtrace."""

    who: _Who
    taint: int | None


def find_panic(log: Log) -> Panic | None:
    """The crash that ``log`` describes, or None if it shows neither a panic nor an oops."""
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
    """The cause that the panic message gives; of several the one whose last sign is the latest."""
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
    """Whether ``began``, the cause of the beginning, says more than the panic message does."""
    both = cause.grade is began.grade is Grade.OOPS
    return cause.vague and (both or cause not in signs.series)


def _named(lines: Lines, at: int, cause: Cause) -> _Who:
    """Whom the sign in line ``at`` and the details after it name."""
    who = _Who()
    for sign in cause.signs:
        who = who.and_of(_Who.from_match(sign.pattern.search(lines[at])))
    if cause.details:
        for line in lines[at + 1 : at + 1 + _DETAILS]:
            who = who.and_of(_Who.from_match(cause.details.search(line)))
    return who


def _header(lines: Lines, spans: Sequence[range], wanted: _Who) -> _Header | None:
    """The first header of a backtrace that does not contradict ``wanted``."""
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
    """The taint mask in a backtrace's header; None if it has none."""
    if named.get("clean"):
        return 0
    letters = named.get("taint")
    return mask_of(letters.decode()) if letters else None


def _lone_cpu(lines: Sequence[bytes]) -> _Who:
    """The CPU that a line before the header names."""
    return next(
        (_Who.from_match(m) for line in reversed(lines) if (m := _CPU.search(line))), _Who()
    )


def _caller(record: Record) -> _Who:
    """Who printed the record, if the kernel stores callers (CONFIG_PRINTK_CALLER, 5.1)."""
    name = record.caller_name
    if name is None:
        return _Who()
    number = int(name[1:])
    return _Who(cpu=number) if name[0] == "C" else _Who(pid=number)


def _shown(text: bytes) -> str:
    """The first line of ``text``, in printable ASCII."""
    return one_line(text.split(b"\n", 1)[0].decode(errors="surrogateescape"))
