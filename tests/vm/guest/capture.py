# SPDX-License-Identifier: MIT
"""The capture kernel's life: mount oldmemfs, check everything, measure, unmount, switch off."""

from __future__ import annotations

import hashlib
import os
import re
import time
import traceback
from pathlib import Path

from . import bench, checks, daemon, firstlook, kernelpages
from .compare import MIB
from .report import check, emit, run
from .vmcore import VMCORE

_CHECKS = (
    firstlook.dmesg, firstlook.registers, firstlook.summary, firstlook.tools,
    checks.mounted, checks.modes, checks.read_only, checks.whole_vmcore, checks.vmcore_edges,
    checks.whole_oldmem, checks.oldmem_gaps, checks.pattern_pages, checks.vmcoreinfo, checks.sizes,
    kernelpages.kernel_pages, kernelpages.page_flags, kernelpages.user_memory,
)  # fmt: skip


def main() -> None:
    """Always switches the machine off at its end, whatever happened."""
    try:
        _facts()
        _life()
        emit("end", uptime=_uptime())
    except BaseException:
        emit("fatal", where="capture kernel", detail=traceback.format_exc())
    run("poweroff", "-f")
    time.sleep(60)


def _life() -> None:
    before = re.findall(r"MemAvailable:\s+(\d+)", daemon.available())
    began = time.monotonic()
    if not check("mount", daemon.mount):
        return
    mounted = time.monotonic()
    check("panic_in_log", lambda: firstlook.panic_in_log(mounted))
    firstlook.size_known(mounted - began)
    process = daemon.pid()
    emit("memory", when="mounted", available_before=int(before[0]), **daemon.memory(process))
    for function in _CHECKS:
        check(function.__name__, function)
    for name in ("status", "summary", "filter-report", "badpages"):
        emit("text", name=name, text=Path(checks.MOUNT, name).read_text())
    emit("memory", when="checked", **daemon.memory(process))
    rounds = int(re.findall(r"vm\.rounds=(\d+)", Path("/proc/cmdline").read_text())[0])
    if rounds:
        bench.measure(rounds)
        emit("memory", when="measured", **daemon.memory(process))
    check("unmount", lambda: daemon.unmount(process))
    check("kernel_log", daemon.kernel_log)


def _facts() -> None:
    """What a kept crash needs beside its memory."""
    digest = hashlib.sha256()
    with open(VMCORE, "rb", buffering=0) as file:
        while part := file.read(MIB):
            digest.update(part)
    emit(
        "facts",
        release=os.uname().release,
        cmdline=Path("/proc/cmdline").read_text().strip(),
        iomem=Path("/proc/iomem").read_text(),
        sha256=digest.hexdigest(),
        size=os.stat(VMCORE).st_size,
        uptime=_uptime(),
    )


def _uptime() -> float:
    return float(Path("/proc/uptime").read_text().split()[0])


if __name__ == "__main__":
    main()
