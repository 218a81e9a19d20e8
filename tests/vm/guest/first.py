# SPDX-License-Identifier: MIT
"""The first kernel's life: fill memory, load the capture kernel, crash."""

from __future__ import annotations

import os
import time
from pathlib import Path

from .pageflags import Snapshots
from .pages import Marked
from .report import emit, run

# What the tools write each in its own way: more than one line, and bytes that are no ASCII.
_LOG = (b"<12>several\n  lines\nof one record\n", b"<13>caf\xc3\xa9 \xff\x01 \x1b[1m\n", b"<14>\n")


def main() -> None:
    """Does not return: the panic ends it. A failure is told, and the machine is switched off."""
    try:
        _crash()
    except BaseException as error:
        emit("fatal", where="first kernel", detail=f"{type(error).__name__}: {error}")
    run("poweroff", "-f")
    time.sleep(60)


def _crash() -> None:
    options = dict(
        word.removeprefix("vm.").split("=", 1)
        for word in Path("/proc/cmdline").read_text().split()
        if word.startswith("vm.")
    )
    Path("/run/file").write_bytes(b"a page of tmpfs\n" * 300_000)
    Path("/cache/file").write_bytes(b"a page of ramfs\n" * 300_000)
    for path in Path("/").glob("usr/lib/**/*.pyc"):
        path.read_bytes()
    for line in _LOG:
        Path("/dev/kmsg").write_bytes(line)
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cpus[-1:])  # the one that will panic
    snapshots = Snapshots()
    marked = Marked()
    command = ["console=ttyS0", "nr_cpus=1", "reset_devices", marked.word(), snapshots.word()]
    command += [f"vm.cpus={len(cpus)}", f"vm.cpu={cpus[-1]}"]
    command += ["panic=-1", "vm.rounds=" + options["rounds"], *_extra()]
    loaded = run(
        "kexec", "-p", f"-{options['loader']}", "/vmlinuz", "--initrd=/capture.img",
        "--append=" + " ".join(command),
    )  # fmt: skip
    if loaded.returncode != 0:
        raise RuntimeError(f"kexec: exit {loaded.returncode}: {loaded.stderr.strip()}")
    if Path("/sys/kernel/kexec_crash_loaded").read_text().strip() != "1":
        raise RuntimeError("kexec succeeded but no capture kernel is loaded")
    marked.stay()
    pages = [
        f"{page.kind} phys 0x{page.phys:x} kpageflags 0x{page.flags:x}" for page in marked.pages
    ]
    emit("loaded", command=command, release=os.uname().release, uptime=_uptime(), marked=pages)
    Path("/proc/sys/kernel/sysrq").write_text("1")
    with open("/proc/sysrq-trigger", "wb", buffering=0) as trigger:
        snapshots.take()
        trigger.write(b"c")
    raise RuntimeError("the kernel did not crash")


def _extra() -> list[str]:
    return Path("/capture.cmdline").read_text().split()


def _uptime() -> float:
    return float(Path("/proc/uptime").read_text().split()[0])


if __name__ == "__main__":
    main()
