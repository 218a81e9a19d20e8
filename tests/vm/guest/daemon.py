# SPDX-License-Identifier: MIT
"""The oldmemfs process inside the capture kernel: found, weighed, and seen to end."""

from __future__ import annotations

import os
import time
from pathlib import Path

from .checks import MOUNT
from .report import expect, run

_ENDS = 300  # seconds; on a busy host emulation may be a hundred times slower than hardware


def mount() -> str:
    """As a user would: the system's mount runs mount.fuse3, that /bin/sh, and that oldmemfs."""
    done = run("mount", "-t", "fuse", "oldmemfs", MOUNT)
    expect(done.returncode == 0, f"exit {done.returncode}: {done.stderr.strip()}")
    spared = Path(f"/proc/{pid()}/oom_score_adj").read_text().strip()
    expect(spared == "-1000", f"oom_score_adj {spared}: it may be ended when memory runs out")
    return (done.stdout + done.stderr).strip() or "silent"


def pid() -> int:
    """The one process that has `oldmemfs` among its words."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"oldmemfs" in words:
            found.append(int(folder.name))
    expect(len(found) == 1, f"oldmemfs processes: {found}")
    return found[0]


def memory(process: int) -> dict[str, int]:
    """The daemon's size and what the machine has left, in KiB."""
    wanted = ("VmRSS:", "VmHWM:", "RssAnon:", "Threads:", "MemAvailable:", "MemFree:")
    text = Path(f"/proc/{process}/status").read_text() + available()
    lines = (line.split() for line in text.splitlines())
    return {
        words[0].rstrip(":"): int(words[1]) for words in lines if words[:1] and words[0] in wanted
    }


def available() -> str:
    """/proc/meminfo."""
    return Path("/proc/meminfo").read_text()


def unmount(process: int) -> str:
    """`umount` succeeds, the mount is gone, and the daemon ends by itself with status 0.

    This program is process 1, so the daemon is its child and its status can be asked for.
    """
    done = run("umount", MOUNT)
    expect(done.returncode == 0, f"umount: exit {done.returncode}: {done.stderr.strip()}")
    expect(MOUNT not in Path("/proc/mounts").read_text().split(), f"{MOUNT} is still mounted")
    began = time.monotonic()
    while time.monotonic() - began < _ENDS:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            expect(code == 0, f"the daemon ended with {code}")
            return f"the daemon ended after {time.monotonic() - began:.2f} s"
        time.sleep(0.05)
    expect(False, f"the daemon still runs after {_ENDS} s")
    return ""


def kernel_log() -> str:
    """The capture kernel saw no bug, no oops and no killed process.

    Neither a lockup nor a scan that says how far it is: then the host was busy.
    """
    log = run("dmesg").stdout
    expect(len(log) > 1000, "dmesg says next to nothing")
    bad = (
        "BUG:",
        "Oops",
        "Out of memory",
        "oom-kill",
        "segfault",
        "general protection",
        "WARNING:",
    )
    slow = ("lockup", "WARNING:oldmemfs.filter.scan:")
    lines = [
        line
        for line in log.splitlines()
        if any(word in line for word in bad) and not any(word in line for word in slow)
    ]
    expect(not lines, "\n".join(lines[:5]))
    return f"{len(log.splitlines())} lines"
