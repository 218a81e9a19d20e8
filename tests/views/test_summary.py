# SPDX-License-Identifier: MIT
"""What the first look shows, of whole crashes and of wrecks."""

from __future__ import annotations

import json

import pytest

from oldmemfs.kernel.identity import Identity
from oldmemfs.kernel.panic import Panic, find_panic
from oldmemfs.kernel.printk import Log, Record
from oldmemfs.kernel.vmcoreinfo import Vmcoreinfo
from oldmemfs.ranges import Range
from oldmemfs.views.facts import ViewLine, as_json, as_text, summarize

INFO = Vmcoreinfo.parse(
    b"OSRELEASE=6.1.0-56-cloud-amd64\nBUILD-ID=3b43fad5\nPAGESIZE=4096\nCRASHTIME=1795220275\n"
)
SYSRQ = [
    b"golden: about to crash", b"sysrq: Trigger a crash",
    b"Kernel panic - not syncing: sysrq triggered crash",
    b"CPU: 1 PID: 1 Comm: init Kdump: loaded Not tainted 6.1.0-56-cloud-amd64 #1  Debian 6.1.192-2",
    b"Call Trace:",
]  # fmt: skip
OOPS = [
    b"BUG: kernel NULL pointer dereference, address: 0000000000000000", b"#PF: error_code(0x0002)",
    b"Oops: Oops: 0002 [#1] PREEMPT SMP NOPTI",
    b"CPU: 3 UID: 0 PID: 812 Comm: my prog Tainted: G        W  O       6.12.9 #1", b"...",
    b"Kernel panic - not syncing: Fatal exception", b"Kernel Offset: disabled",
]  # fmt: skip


MCE = "Kernel panic - not syncing: Fatal machine check"
HUNG = "Kernel panic - not syncing: hung_task: blocked tasks"
OOM = "Kernel panic - not syncing: Out of memory: system-wide panic_on_oom is enabled"


def crash(*texts: bytes) -> Panic | None:
    return find_panic(Log(tuple(Record(i, i, 6, 0, None, text) for i, text in enumerate(texts))))


VIEWS = [ViewLine("vmcore", 536870912, "crash, gdb"), ViewLine("dump", None, "crash, drgn")]


def test_text() -> None:
    summary = summarize(
        "x86_64", INFO, crash(*SYSRQ), pids=[0, 1, None], taint=1 << 12,
        ranges=[Range(0x1000, 0x9FC00), Range(0x100000, 0x20000000)], views=VIEWS,
        problems=["dump: no symbol mem_section"],
    )  # fmt: skip
    assert as_text(summary) == (
        "kernel      6.1.0-56-cloud-amd64\n"
        "build-id    3b43fad5\n"
        "machine     x86_64\n"
        "crashed     2026-11-21T00:17:55Z\n"
        "panic       Kernel panic - not syncing: sysrq triggered crash\n"
        "cause       the crash was requested (sysrq-c)\n"
        "began with  sysrq: Trigger a crash\n"
        "blamed      CPU 1, pid 1 (init)\n"
        "CPUs        3, 2 of them with registers\n"
        "taint       O (out-of-tree module)\n"
        "memory      511.6 MiB in 2 ranges\n"
        "            0x1000-0x9fc00 635.0 KiB\n"
        "            0x100000-0x20000000 511.0 MiB\n"
        "\n"
        "vmcore 536870912 (512.0 MiB)  crash, gdb\n"
        "dump           not available  crash, drgn\n"
        "\n"
        "problem     dump: no symbol mem_section\n"
    )


def test_json() -> None:
    summary = summarize(
        "x86_64", INFO, crash(*OOPS), pids=[5, None, 7], ranges=[Range(0, 0x1000)], views=VIEWS,
        problems=["no"],
    )  # fmt: skip
    assert json.loads(as_json(summary)) == {
        "release": "6.1.0-56-cloud-amd64", "build_id": "3b43fad5", "machine": "x86_64",
        "version": None, "hostname": None, "command_line": None, "hardware": None,
        "uptime": None, "page_size": 4096, "crash_time": "2026-11-21T00:17:55Z",
        "panic": OOPS[5].decode(),
        "log_read": True, "cause": "the kernel used a NULL pointer (oops)",
        "trigger": OOPS[0].decode(), "cpu": 3, "pid": 812, "comm": "my prog",
        "registers_agree": False, "cpus": 3, "cpu_pids": [5, None, 7], "taint": 1 << 9 | 1 << 12,
        "taint_letters": "WO", "memory_size": 4096, "memory": [[0, 4096]],
        "views": [
            {"name": "vmcore", "size": 536870912, "opens": "crash, gdb", "pending": None},
            {"name": "dump", "size": None, "opens": "crash, drgn", "pending": None},
        ],
        "problems": ["no"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("pids", "machine", "agreed"),
    [
        ([0, 1], "x86_64", True), ([0, 2], "x86_64", False), ([1], "x86_64", False),
        ([0, None], "x86_64", False), ([], "x86_64", None), ([1, 2], "s390x", None),
    ],
)  # fmt: skip
def test_registers_and_log_agree(pids: list[int | None], machine: str, agreed: bool | None) -> None:
    summary = summarize(machine, INFO, crash(*SYSRQ), pids=pids, pids_are_tasks=machine != "s390x")
    assert summary.agreed is agreed
    assert ("of another task" in as_text(summary)) is (agreed is False)


def test_nothing_is_known() -> None:
    summary = summarize("machine 0x1234", None, None)
    text = as_text(summary)
    assert text.count("unknown") == 4
    assert "panic       none in the log\n" in text
    assert "memory      0 bytes in 0 ranges\n" in text
    assert json.loads(as_json(summary))["registers_agree"] is None


@pytest.mark.parametrize("seconds", [-1, 253402300800, 1 << 63])
def test_a_time_that_cannot_be(seconds: int) -> None:
    info = Vmcoreinfo.parse(b"OSRELEASE=6.1\x1b[2J\r\xff\nCRASHTIME=%d\n" % seconds)
    text = as_text(summarize("x86_64", info, None))
    assert "crashed     unknown\n" in text
    assert "kernel      6.1\\x1b[2J\\x0d\\xef\\xbf\\xbd\n" in text


@pytest.mark.parametrize(
    ("texts", "blamed"),
    [
        (["mce: [Hardware Error]: CPU 1: Machine Check Exception: 5 Bank 0: b2", MCE], "CPU 1"),
        (["INFO: task dd:12 blocked for more than 120 seconds.", HUNG], "pid 12 (dd)"),
        (["java invoked oom-killer: gfp_mask=0xd0, order=0", OOM], "java"),
        (["", OOM, "CPU: 3 PID: 7 Comm: x Not tainted 6.1 #1"], "CPU 3, pid 7 (x)"),
        ([OOM], None),
    ],
)
def test_who_is_blamed(texts: list[str], blamed: str | None) -> None:
    """As much as is known; a processor's registers are compared only where its task is known."""
    summary = summarize("x86_64", INFO, crash(*(t.encode() for t in texts)), pids=[0, 1, 2, 7])
    shown = [line for line in as_text(summary).splitlines() if line.startswith("blamed")]
    assert shown == ([] if blamed is None else [f"blamed      {blamed}"])


def test_a_size_that_nobody_asked_for_is_not_a_file_that_cannot_be_made() -> None:
    views = [ViewLine("vmcore", 4096, "gdb"), ViewLine("dump", None, "crash", "not scanned yet")]
    told = summarize("x86_64", None, None, views=views)
    assert "\nvmcore   4096 (4.0 KiB)  gdb\ndump    not scanned yet  crash\n" in as_text(told)
    assert json.loads(as_json(told))["views"][1]["pending"] == "not scanned yet"
    views[1] = ViewLine("dump", None, "crash", "not scanned yet: a stat starts it")
    wide = as_text(summarize("x86_64", None, None, views=views))
    assert "\nvmcore                    4096 (4.0 KiB)  gdb\n" in wide
    assert "\ndump   not scanned yet: a stat starts it  crash\n" in wide


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0.0 seconds"), (59.94, "59.9 seconds"), (61.5, "00:01:01"), (86399.0, "23:59:59"),
        (3 * 86400 + 4 * 3600 + 5 * 60 + 6.9, "3 days 04:05:06"),
    ],
)  # fmt: skip
def test_uptime(seconds: float, shown: str) -> None:
    text = as_text(summarize("x86_64", INFO, None, identity=Identity(uptime=seconds)))
    assert f"uptime      {shown}\n" in text


def test_which_machine_it_was() -> None:
    known = Identity("Linux version 6.1 (x) #1", "db7", "root=/dev/sda1 ro", "QEMU PC", 9.5)
    summary = summarize("ppc64le", INFO, None, identity=known)
    assert as_text(summary).startswith(
        "kernel      6.1.0-56-cloud-amd64\n"
        "build-id    3b43fad5\n"
        "version     Linux version 6.1 (x) #1\n"
        "command     root=/dev/sda1 ro\n"
        "machine     ppc64le\n"
        "hardware    QEMU PC\n"
        "hostname    db7\n"
        "crashed     2026-11-21T00:17:55Z\n"
        "uptime      9.5 seconds\n"
    )
    found = json.loads(as_json(summary))
    keys = ("version", "hostname", "command_line", "hardware", "uptime")
    told = (known.version, known.hostname, known.command_line, known.hardware, known.uptime)
    assert tuple(found[key] for key in keys) == told
