# SPDX-License-Identifier: MIT
"""`python -m tests.vm.foreign [TARGET...]`: crash machines of other architectures, and check."""

from __future__ import annotations

import argparse
import sys
import tempfile
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..machine import Machine
from ..tools import HostError
from .build import crash
from .crashed import Crashed
from .registry import CHECKS, without
from .targets import ALWAYS, MORE, TARGETS

if TYPE_CHECKING:
    from .targets import Target


def main() -> int:
    """Exit status 0: all checks held; 1: some did not; 2: a crash could not be made."""
    parser = argparse.ArgumentParser(prog="python -m tests.vm.foreign", description=__doc__)
    parser.add_argument("targets", nargs="*", default=[*ALWAYS, *MORE], metavar="TARGET",
                        help=", ".join(TARGETS))  # fmt: skip
    parser.add_argument("--cpu", help="QEMU's CPU model")
    parser.add_argument("--loader", choices=("s", "c"), help="kexec -s or -c")
    parser.add_argument("--levels", help="makedumpfile's, as 31,16")
    parser.add_argument("--work", type=Path, help="keep everything in this folder")
    parser.add_argument("--again", action="store_true", help="only check what is in --work")
    options = parser.parse_args()
    failed = False
    for name in options.targets:
        target = TARGETS[name]
        if options.cpu:
            target = replace(target, cpu=options.cpu)
        if options.loader:
            target = replace(target, loader=options.loader)
        if options.levels:
            target = replace(target, levels=tuple(map(int, options.levels.split(","))))
        with tempfile.TemporaryDirectory(prefix="oldmemfs-vm-") as folder:
            work = options.work / name if options.work else Path(folder)
            work.mkdir(parents=True, exist_ok=True)
            try:
                crashed = _old(target, work) if options.again else crash(target, work)
            except HostError as error:
                print(f"{name}: {error}", file=sys.stderr)
                return 2
            print(f"{name}: crashed in {crashed.seconds:.0f} s", flush=True)
            failed |= not _show(name, crashed)
    return int(failed)


def _old(target: Target, work: Path) -> Crashed:
    machine = Machine(work, target.memory_mib, target.cpus, target.cpu)
    return Crashed(target, machine, 0)


def _show(name: str, crashed: Crashed) -> bool:
    good = True
    for word, check in CHECKS.items():
        if reason := without(crashed.target, word):
            print(f"{name}: -    {word}: {reason}")
            continue
        try:
            print(f"{name}: ok   {word}: {check(crashed)}", flush=True)
        except Exception as error:
            told = str(error) if isinstance(error, (AssertionError, HostError)) else ""
            print(f"{name}: FAIL {word}: {told or traceback.format_exc()}", flush=True)
            good = False
    return good


if __name__ == "__main__":
    sys.exit(main())
