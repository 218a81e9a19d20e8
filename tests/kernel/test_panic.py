# SPDX-License-Identifier: MIT
"""What kernels die of: for each cause a log as such a kernel prints it, and what is told of it."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from oldmemfs.kernel import signs
from oldmemfs.kernel.causes import CAUSES, Grade
from oldmemfs.kernel.panic import Panic, find_panic
from oldmemfs.kernel.printk import Log, Record

_ON_CPU = 1 << 31
_PANIC = "Kernel panic - not syncing: "
_TITLE = re.compile(r"== (.+) \| (.+) \| (\S+) (\S+) (.+)")


class Case(NamedTuple):
    """A crash's log, and what should be told of it: words of the cause, the line it began with."""

    name: str
    lines: tuple[str, ...]
    panic: str | None
    cause: str | None
    began: str | None
    cpu: int | None = None
    pid: int | None = None
    comm: str | None = None


def cases() -> list[Case]:
    """The cases of panics.txt."""
    found: list[Case] = []
    for line in (Path(__file__).parent / "panics.txt").read_text().splitlines():
        if title := _TITLE.fullmatch(line):
            name, *rest = title.groups()
            cause, cpu, pid, comm = (None if word == "-" else word for word in rest)
            who = (cpu and int(cpu), pid and int(pid), comm)
            found.append(Case(name, (), None, cause, None, *who))  # type: ignore[arg-type]
        elif line[:2] in ("  ", "> ", "! "):
            told = (_PANIC if line[0] == "!" else "") + line[2:]
            case = found[-1]._replace(lines=(*found[-1].lines, told))
            if line[0] == ">":
                case = case._replace(began=told)
            found[-1] = case._replace(panic=told) if line[0] == "!" else case
        else:
            assert not line or line[0] == "#", line
    return found


CASES = cases()
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def log_of(lines: list[str] | tuple[str, ...], caller: int | None = None) -> Log:
    """A record for each line."""
    records = (Record(i, i, 6, 0, caller, line.encode()) for i, line in enumerate(lines))
    return Log(tuple(records))


def named(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def check(found: Panic | None, case: Case) -> None:
    assert found is not None
    assert found.line == case.panic
    assert (found.cause is None) == (case.cause is None)
    assert (case.cause or "") in (found.cause or "")
    assert found.trigger == case.began
    assert (found.cpu, found.pid, found.comm) == (case.cpu, case.pid, case.comm)


@each_case
def test_each_cause(case: Case) -> None:
    check(find_panic(log_of(case.lines)), case)


@each_case
def test_after_a_long_life_and_before_the_end(case: Case) -> None:
    """Reports of other kinds long before are not the beginning; what follows changes nothing."""
    old = [
        "INFO: task updatedb:5 blocked for more than 120 seconds.",
        "WARNING: at fs/x.c:1 y+0x1/0x2",
        "java invoked oom-killer: gfp_mask=0xd0, order=0, oom_adj=0",
        "mce: [Hardware Error]: CPU 9: Machine Check: 0 Bank 5: be00000000800400",
        "x[4]: segfault at 0 ip 0 sp 0 error 4", "traps: y[5] general protection fault ip:0 sp:0",
        *(f"usb 1-{i}: new device" for i in range(1100)),
    ]  # fmt: skip
    end = [f"---[ end {case.panic} ]---"] if case.panic else []
    check(find_panic(log_of([*old, *case.lines, "Kernel Offset: disabled", *end])), case)


def test_every_row_is_tested() -> None:
    found = {panic.cause for c in CASES if (panic := find_panic(log_of(c.lines)))}
    assert found >= {cause.sentence for cause in CAUSES}


def test_every_sign_is_found_by_its_words() -> None:
    """Words that a pattern's line need not have would hide it."""
    lines = [line.encode() for case in CASES for line in case.lines]
    for cause in CAUSES:
        for sign in cause.signs:
            assert all(sign.words in t for t in lines if sign.pattern.search(t)), sign


def test_the_first_of_several_oopses_is_the_beginning() -> None:
    first, second = named("NULL pointer, x86"), named("bad address, x86")
    found = find_panic(log_of([*first.lines[:-2], *second.lines]))
    check(found, first._replace(panic=second.panic, cpu=3, pid=812, comm="x"))  # who died of it


def test_an_oops_without_a_panic() -> None:
    """Dumped from within the oops: there is no other line."""
    case = named("NULL pointer, x86")
    check(find_panic(log_of([*case.lines[:-2], " </TASK>"])), case._replace(panic=None))


@pytest.mark.parametrize(
    ("caller", "cpu", "pid"), [(77, None, 77), (_ON_CPU | 3, 3, None), (None, None, None)]
)
def test_the_caller_is_known_where_nothing_else_is(
    caller: int | None, cpu: int | None, pid: int | None
) -> None:
    record = Record(0, 0, 0, 0, caller, b"Kernel panic - not syncing: out of ideas")
    found = find_panic(Log((record,)))
    assert found == Panic(
        "Kernel panic - not syncing: out of ideas", None, None, cpu, pid, None, None
    )


@each_case
def test_callers_do_not_contradict_the_log(case: Case) -> None:
    if case.cpu is not None or case.pid is not None:
        check(find_panic(log_of(case.lines, caller=4711)), case)


def test_what_programs_write_is_no_panic() -> None:
    """/dev/kmsg: the kernel does not let them pass for itself."""
    text = b"Kernel panic - not syncing: no"
    assert (
        find_panic(Log(tuple(Record(0, 0, 0, facility, None, text) for facility in (1, 3)))) is None
    )
    assert find_panic(Log((Record(0, 0, 0, None, None, text),))) is not None  # before 3.5: unknown


@pytest.mark.parametrize(
    "texts", [[b""], [b"Linux version 6.1"], [b"traps: x[1] general protection fault ip:0"],
              [b"INFO: task x:1 blocked for more than 120 seconds."], []],
)  # fmt: skip
def test_no_crash(texts: list[bytes]) -> None:
    assert find_panic(Log(tuple(Record(0, 0, 0, 0, None, text) for text in texts))) is None


def test_nothing_reaches_the_terminal() -> None:
    line = b"Kernel panic - not syncing: \x1b[2J\xff\nmore"
    who = b"CPU: 1 PID: 2 Comm: \x1b[31m\x9b Not tainted"
    found = find_panic(Log((Record(0, 0, 0, 0, None, line), Record(1, 0, 0, 0, None, who))))
    assert found is not None
    assert found.line == "Kernel panic - not syncing: \\x1b[2J\\xff"
    assert found.comm == "\\x1b[31m\\x9b"


HOSTILE = (
    b"INFO: task " * 30, b"INFO: task " + b":" * 900,
    b"soft lockup - CPU#1 stuck for " + b"[:" * 400,
    b" ".join(sign.words for cause in CAUSES for sign in cause.signs), b"WARNING: " * 100,
    b"BUG kmalloc " + b"(" * 900, b"CPU: 1 PID: 1 Comm: " * 50, b"\0" * 1024,
)  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_log_takes_seconds(text: bytes) -> None:
    """1 to 2 seconds each when this was written; without bounds, a minute."""
    log = Log((Record(0, 0, 0, 0, None, text),) * (1 << 20))
    start = time.process_time()
    find_panic(log)
    assert time.process_time() - start < 30


def test_patterns_are_tried_so_many_times(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    class Counting:
        def search(self, line: bytes) -> None:
            tried.append(line)

    monkeypatch.setattr(signs, "ROWS", [(b"x", Counting(), cause) for cause in CAUSES])
    find_panic(Log(tuple(Record(i, 0, 0, 0, None, b"x" * 1000) for i in range(1 << 16))))
    assert len(tried) == signs.TRIES
    assert {len(line) for line in tried} == {256}


def test_only_the_grades_that_are_meant() -> None:
    assert {cause.grade for cause in CAUSES} == set(Grade)
