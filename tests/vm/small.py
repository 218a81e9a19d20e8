# SPDX-License-Identifier: MIT
"""`python -m tests.vm.small [SIZE...]`: in how small a capture kernel the files can be copied.

Nothing but the payload and busybox is in there: a shell mounts, compares `vmcore` with /proc/vmcore
and reads `vmcore-kern` to its end.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from . import images, kernels
from .cache import filling
from .machine import Machine
from .tools import HostError

SERIES = "6.1"
_STEPS = ("loaded", "sizes", "panic", "vmcore", "kernel", "left", "end")


def crash(size: str, work: Path) -> dict[str, str]:
    """What the capture kernel told, step by step; what went wrong is under "problem"."""
    with filling():
        kernel = kernels.fetch(SERIES)
    initrd = images.build(kernel, None, work, capture_command="")
    machine = Machine(work, 512, 2, "max")
    command = f"console=ttyS0 panic=-1 crashkernel={size} vm.loader=s vm.rounds=0"
    told: dict[str, str] = {}
    try:
        machine.run(kernel.vmlinuz, initrd, command, timeout=1800)
    except HostError as error:
        told["problem"] = str(error)
    for line in machine.report.read_text().splitlines():
        try:
            record = json.loads(line)
            told[record["kind"]] = str(record.get("detail", record.get("release")))
        except ValueError:
            told["problem"] = line
    if missing := [step for step in _STEPS if step not in told]:
        told.setdefault("problem", f"no {missing[0]}: {machine.tail(5)}")
    return told


def main() -> None:
    for size in sys.argv[1:] or ["192M"]:
        with tempfile.TemporaryDirectory(prefix="oldmemfs-vm-") as folder:
            for step, detail in crash(size, Path(folder)).items():
                print(f"{size} {step}: {detail}", flush=True)


if __name__ == "__main__":
    main()
