# SPDX-License-Identifier: MIT
"""How long the programs that people open dumps with take: on the plain file and on the mount.

::

    python tests/tools/bench_readers.py IMAGE [VMLINUX] [-o OPTIONS]... [--rounds 3] [--jobs A,B]

IMAGE is a memory image or a core. Its `vmcore` is copied to tmpfs: that is the plain file. Each job
then reads the plain file, and `vmcore` and `vmcore-kern` of a mount made for that round, so that
nothing is in the mount's page cache when a job begins; the first `stat` (the page scan) is not part
of a job's time. With several -o, each is a mount of its own. VMLINUX (the kernel with its debug
symbols) is needed by crash and drgn. Prints seconds (medians of the rounds), and each as a ratio to
the plain file's in the same run. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.mounting import mounted
from tools.compare_scripts import CRASH_TASKS, DRGN_PAGES

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent


class Bench:
    """Where things are, and the jobs: each takes a core and returns what it runs."""

    def __init__(self, scratch: Path, vmlinux: str | None) -> None:
        self.scratch = scratch
        self.vmlinux = vmlinux
        self.walk = scratch / "walk"
        subprocess.run(["gcc", "-O2", str(HERE / "walk.c"), "-o", str(self.walk)], check=True)
        (scratch / "crash.txt").write_text(CRASH_TASKS)
        (scratch / "drgn.py").write_text(DRGN_PAGES)

    def jobs(self) -> dict[str, Callable[[str], list[str]]]:
        """The jobs that can be run here, by name."""
        found: dict[str, Callable[[str], list[str]]] = {}
        drgn = shutil.which("drgn", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        if self.vmlinux and drgn:
            script, symbols = str(self.scratch / "drgn.py"), self.vmlinux
            found["drgn"] = lambda core: [drgn, "-q", "-c", core, "-s", symbols, script]
        if self.vmlinux and shutil.which("crash"):
            commands, symbols = str(self.scratch / "crash.txt"), self.vmlinux
            found["crash"] = lambda core: ["crash", "-s", "-i", commands, symbols, core]
        if shutil.which("makedumpfile"):
            out = str(self.scratch / "out")
            found["makedumpfile -c -d 31"] = lambda core: [
                "makedumpfile", "-f", "-c", "-d", "31", core, out,
            ]  # fmt: skip
        walk = str(self.walk)
        found["8 bytes every 64"] = lambda core: [walk, core, "8", "64", "1000000"]
        found["64 bytes at random"] = lambda core: [walk, core, "64", "random", "20000"]
        found["strings"] = lambda core: ["strings", "-n", "16", core]
        found["sha256sum"] = lambda core: ["sha256sum", core]
        found["cp"] = lambda core: ["cp", "--sparse=never", core, str(self.scratch / "out")]
        found["dd bs=1M"] = lambda core: ["dd", f"if={core}", "of=/dev/null", "bs=1M"]
        return found


def seconds(command: list[str]) -> float:
    """How long a command takes. Its failure ends the benchmark: no figure of a wrong run."""
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=False)
    took = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: status {done.returncode}: {done.stderr[-300:]!r}")
    return took


def measure(
    bench: Bench, image: str, lists: list[str], rounds: int, wanted: list[str]
) -> dict[str, dict[str, float]]:
    """Median seconds of each job, by reader."""
    plain = str(bench.scratch / "plain")
    mount = bench.scratch / "mount"
    with mounted(image, mount):
        shutil.copyfile(mount / "vmcore", plain)
    times: dict[str, dict[str, list[float]]] = {}
    for name, job in bench.jobs().items():
        if wanted and not any(name.startswith(w) for w in wanted):
            continue
        here = times.setdefault(name, {})
        for turn in range(rounds + 1):  # the first one warms up
            took = {"plain file": seconds(job(plain))}
            for options in lists:
                for file in ("vmcore", "vmcore-kern"):
                    with mounted(image, mount, options):
                        os.stat(mount / file)
                        took[f"{file} {options}".strip()] = seconds(job(str(mount / file)))
            if turn:
                for reader, value in took.items():
                    here.setdefault(reader, []).append(value)
        (bench.scratch / "out").unlink(missing_ok=True)
    return {
        name: {reader: statistics.median(values) for reader, values in here.items()}
        for name, here in times.items()
    }


def main() -> None:
    """Mount, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("image")
    parser.add_argument("vmlinux", nargs="?")
    parser.add_argument("-o", dest="lists", action="append", default=[])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", default="", help="the beginnings of their names, with commas")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as scratch:
        bench = Bench(Path(scratch), given.vmlinux)
        wanted = [w for w in given.jobs.split(",") if w]
        table = measure(bench, given.image, given.lists or [""], given.rounds, wanted)
    readers = list(next(iter(table.values())))
    print(f"{'seconds (ratio)':<24}" + "".join(f"{reader:>26}" for reader in readers))
    for name, here in table.items():
        first = here["plain file"]
        cells = (f"{here[r]:.2f} ({here[r] / first:.2f})" for r in readers)
        print(f"{name:<24}" + "".join(f"{cell:>26}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
