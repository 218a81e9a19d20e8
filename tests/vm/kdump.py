# SPDX-License-Identifier: MIT
"""One crash from beginning to end: build, boot, panic, check, and what was found."""

from __future__ import annotations

import json
import os
import time
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import images, kernels, makedumpfile_package
from .cache import filling
from .guest.pageflags import understood
from .guest.pages import HUGE
from .machine import Machine
from .tools import HostError

if TYPE_CHECKING:
    from pathlib import Path

Record = Mapping[str, Any]

# Every one of these must be reported, and be good, or the crash is a failure.
CHECKS = (
    "mount", "panic_in_log", "dmesg", "registers", "summary", "tools", "mounted", "modes",
    "read_only", "whole_vmcore", "vmcore_edges", "whole_oldmem", "oldmem_gaps", "pattern_pages",
    "vmcoreinfo", "sizes", "kernel_pages", "page_flags", "user_memory", "unmount",
    "kernel_log",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Setup:
    """What to crash, and how."""

    loader: str = "s"
    series: str = "6.1"
    memory_mib: int = 512
    cpus: int = 2
    cpu_model: str = "max"
    crashkernel: str = "192M"
    rounds: int = 1
    first_command: str = ""
    capture_command: str = ""
    timeout: float = 1800


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the machine told, and where its memory lies."""

    setup: Setup
    machine: Machine
    records: Sequence[Record]
    seconds: Mapping[str, float] = field(default_factory=dict)

    def records_of(self, kind: str) -> list[Record]:
        return [record for record in self.records if record["kind"] == kind]

    def fact(self, name: str) -> object:
        """One of the facts that the capture kernel told at its start."""
        facts = self.records_of("facts")
        if not facts:
            raise HostError("the capture kernel told no facts")
        return facts[0][name]

    def said(self) -> bytes:
        """What the first kernel said of its pages, out of the memory that it left behind."""
        words = self.records_of("loaded")[0]["command"]
        places = next(word for word in words if word.startswith("vm.kpageflags="))
        size, *rest = (int(number, 16) for number in places.partition("=")[2].split(","))
        with self.machine.ram.open("rb") as ram:
            data = b"".join(os.pread(ram.fileno(), HUGE, place) for place in rest)
        return understood(array("Q", data[:size]), array("Q", data[size : 2 * size]))

    def problems(self) -> list[str]:
        """Everything that is wrong, in words; empty when all is well."""
        found = [f"{record['where']}: {record['detail']}" for record in self.records_of("fatal")]
        verdicts = {record["name"]: record for record in self.records_of("check")}
        silent = [name for name in CHECKS if name not in verdicts]
        if silent:
            found.append(f"never reported: {' '.join(silent)}")
        found += [
            f"{record['name']}: {record['detail']}"
            for record in verdicts.values()
            if not record["ok"]
        ]
        if self.setup.rounds and not self.records_of("bench"):
            found.append("no benchmark reported")
        if not self.records_of("end"):
            found.append(f"the capture kernel did not come to its end:\n{self.machine.tail()}")
        return found


def crash(setup: Setup, work: Path, *, refresh: bool = False) -> Outcome:
    """Build the images in a work folder, run the machine in it, and read its report."""
    began = time.monotonic()
    with filling():
        kernel = kernels.fetch(setup.series, refresh=refresh)
        makedumpfile = makedumpfile_package.fetch(setup.series, refresh=refresh)
    fetched = time.monotonic()
    initrd = images.build(kernel, makedumpfile, work, capture_command=setup.capture_command)
    built = time.monotonic()
    machine = Machine(work, setup.memory_mib, setup.cpus, setup.cpu_model)
    command = (
        f"console=ttyS0 panic=-1 crashkernel={setup.crashkernel}"
        f" vm.loader={setup.loader} vm.rounds={setup.rounds} {setup.first_command}"
    )
    machine.run(kernel.vmlinuz, initrd, command, timeout=setup.timeout)
    seconds = {
        "fetch": fetched - began,
        "build": built - fetched,
        "machine": time.monotonic() - built,
    }
    return Outcome(setup, machine, _records(machine), seconds)


def _records(machine: Machine) -> list[Record]:
    found = []
    for line in machine.report.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            raise HostError(f"{machine.report}: not a record: {line!r}") from None
    return found
