"""What the log says of the crash: the panic, what it began with, and who it was.

The panic is the last ``Kernel panic - not syncing``; a kernel that is dumped from within an oops
prints none. Who it was stands in the header of a backtrace: right after the panic, or before it
if it was an oops that ended so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .printk import one_line
from .taint import mask_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .printk import Log, Record

_PANIC = re.compile(rb"Kernel panic - not syncing")
_TRIGGER = re.compile(
    rb"\bBUG: |\bOops: |[Kk]ernel BUG at |Unable to handle kernel |general protection fault[,:] "
    rb"|Internal error: |[Ss]ys[Rr]q ?: Trigger a crash"
)
_WHO = re.compile(  # CPU since 3.11, UID since 6.12, Kdump since 4.18
    rb"(?:CPU: (?P<cpu>\d{1,9}) (?:UID: \d+ )?PID:|Pid:) (?P<pid>\d{1,9}),? [Cc]omm: (?P<comm>.+?)"
    rb" (?:Kdump: loaded )?(?:Not tainted|Tainted: (?P<taint>[A-Z ]+))"
)
_AFTER = 64  # records in which the header of a backtrace follows what it is of
_BEFORE = 512


@dataclass(frozen=True, slots=True)
class Panic:
    """What can be told of the crash; None is what the log does not say."""

    line: str | None
    trigger: str | None
    cpu: int | None
    pid: int | None
    comm: str | None
    taint: int | None


def find_panic(log: Log) -> Panic | None:
    """The crash that ``log`` tells of, or None if it tells of none."""
    records = log.records
    panics = [i for i, r in enumerate(records) if _PANIC.search(r.text)]
    triggers = [i for i, r in enumerate(records) if _TRIGGER.search(r.text)]
    if not panics and not triggers:
        return None
    at = panics[-1] if panics else triggers[-1]
    who = _who(records[at : at + _AFTER]) or _who(reversed(records[max(at - _BEFORE, 0) : at]))
    return Panic(
        line=_shown(records[panics[-1]].text) if panics else None,
        trigger=_shown(records[triggers[0]].text) if triggers else None,
        cpu=int(who["cpu"]) if who and who["cpu"] else None,
        pid=int(who["pid"]) if who else None,
        comm=_shown(who["comm"]) if who else None,
        taint=mask_of((who["taint"] or b"").decode()) if who else None,
    )


def _who(records: Iterable[Record]) -> re.Match[bytes] | None:
    return next((found for r in records if (found := _WHO.search(r.text))), None)


def _shown(text: bytes) -> str:
    """Its first line, fit for a terminal."""
    return one_line(text.split(b"\n", 1)[0].decode(errors="surrogateescape"))
