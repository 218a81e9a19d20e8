# SPDX-License-Identifier: MIT
"""`python -m tests.vm`: crash once, print what was found, keep the crash when asked to."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from oldmemfs.commands.payload import PayloadError

from .artifacts import keep
from .kdump import Outcome, Setup, crash
from .kernels import SUITES
from .tools import HostError, missing

_SHORT_FACTS = ("release", "sha256", "size", "uptime", "cmdline")


def main() -> int:
    """Exit status 0: all checks held; 1: some did not; 2: the crash could not be made."""
    options = _options()
    lacking = missing()
    if lacking:
        print(f"missing on this host: {', '.join(lacking)}; see setup.sh", file=sys.stderr)
        return 2
    setup = Setup(
        options.loader, options.kernel, options.memory, options.cpus, options.cpu,
        options.crashkernel, options.rounds, options.first, options.capture, options.timeout,
    )  # fmt: skip
    try:
        with tempfile.TemporaryDirectory(prefix="oldmemfs-vm-") as folder:
            outcome = crash(setup, Path(folder), refresh=options.refresh)
            _show(outcome)
            if options.keep:
                keep(outcome, options.keep)
            return 1 if outcome.problems() else 0
    except (HostError, PayloadError) as error:
        print(error, file=sys.stderr)
        return 2


def _options() -> argparse.Namespace:
    default = Setup()
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description=__doc__)
    parser.add_argument("--loader", choices=("s", "c"), default=default.loader,
                        help="kexec -s (kexec_file_load) or -c (kexec_load)")  # fmt: skip
    parser.add_argument("--kernel", choices=tuple(SUITES), default=default.series)
    parser.add_argument("--memory", type=int, default=default.memory_mib, help="MiB")
    parser.add_argument("--cpus", type=int, default=default.cpus)
    parser.add_argument("--cpu", default=default.cpu_model, help="QEMU's CPU model")
    parser.add_argument("--crashkernel", default=default.crashkernel)
    parser.add_argument("--rounds", type=int, default=default.rounds, help="benchmark; 0: none")
    parser.add_argument("--first", default="", help="more for the first kernel's command line")
    parser.add_argument("--capture", default="", help="more for the capture kernel's command line")
    parser.add_argument("--timeout", type=float, default=default.timeout)
    parser.add_argument("--refresh", action="store_true", help="look for a newer kernel")
    parser.add_argument("--keep", type=Path, help="save memory image and facts in this folder")
    return parser.parse_args()


def _show(outcome: Outcome) -> None:
    for record in outcome.records:
        fields = {name: value for name, value in record.items() if name != "kind"}
        match record["kind"]:
            case "check":
                word = "ok  " if record["ok"] else "FAIL"
                print(f"{word} {record['name']} ({record['seconds']} s): {record['detail']}")
            case "text":
                print(f"--- {record['name']}\n{record['text']}---")
            case "facts":
                print("facts", " ".join(f"{name}={fields[name]}" for name in _SHORT_FACTS))
            case kind:
                print(kind, " ".join(f"{name}={value}" for name, value in fields.items()))
    print("seconds", " ".join(f"{name}={value:.1f}" for name, value in outcome.seconds.items()))
    for problem in outcome.problems():
        print(f"PROBLEM {problem}")


if __name__ == "__main__":
    sys.exit(main())
