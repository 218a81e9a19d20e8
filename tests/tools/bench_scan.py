# SPDX-License-Identifier: MIT
"""Scan rates beside makedumpfile's own "Excluding unnecessary pages", on the same files.

``python tests/tools/bench_scan.py [GiB]``: the recorded crashes, and synthetic kernels of so
much memory, with no free page and with almost nothing but free blocks. Both read the same file in
turn; the best of nine counts, since others may use the machine. Written to /dev/shm: the struct
pages of the synthetic ones take GiB / 64.

``python tests/tools/bench_scan.py CORE``: that file; and how long it takes until the filtered
dump's size is known, by mounting it and a `stat`, and by makedumpfile's --dry-run.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.crash import Crash
from support.crash_arch import X86_64
from support.crash_elf import save_core
from support.pagemodel import BASE, GENERATIONS
from support.recorded import golden_sets
from support.recorded_dumps import dump, save_vmcore

from oldmemfs.filter.classes import classify
from oldmemfs.filter.memmap import memory_map
from oldmemfs.filter.rules import Rules
from oldmemfs.filter.sections import sections
from oldmemfs.kernel.arch import x86_64
from oldmemfs.options import Options
from oldmemfs.ranges import Range
from oldmemfs.sources import open_source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from oldmemfs.dump import Dump

GIB, PAGE = 1 << 30, 4096
RUNS = 9
STEP = re.compile(r"STEP \[Excluding unnecessary pages\] : ([0-9.]+) seconds")
USED = {"flags": 1 << 4 | 1 << 2 | 1 << 19, "mapping": 0xFFFF888000001001, "_refcount": 1}
FREE = {"flags": 0, "_mapcount": -129, "private": 10}
PLAIN = {"flags": 0, "_mapcount": -1}


def theirs(path: Path, level: int) -> float:
    """Seconds of the sweep that fills the bitmap: of two like passes, the faster."""
    command = ["makedumpfile", "-c", "-d", str(level), "--dry-run", "--message-level", "31",
               str(path), "/dev/null.none"]  # fmt: skip
    # a synthetic kernel ends it later on, when it wants to write; the sweep is done by then
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return min(float(s) for s in STEP.findall(done.stdout + done.stderr))


def ours(crash: Dump, level: int) -> float:
    """Seconds from the memory map's sections to all bits, page-table walks included."""
    dead = crash.kernel
    maps = memory_map(dead)
    rules = Rules.from_vmcoreinfo(
        crash.vmcoreinfo, 8, big_endian=False, huge_orders=x86_64.ARCH.huge_orders
    )
    loads = [Range(p.paddr, p.paddr + p.memsz) for p in crash.header.loads]
    start = time.perf_counter()
    classify(dead.memory, loads, sections(dead, maps), rules, level & ~1)
    return time.perf_counter() - start


def synthetic(folder: Path, name: str, size: int, pages: Mapping[int, Mapping[str, int]],
              fill: Mapping[str, int]) -> Path:  # fmt: skip
    """A core file of a kernel like 6.1 whose struct pages are real and whose pages are a hole."""
    keys = BASE | next(g.keys for g in GENERATIONS if g.name == "6.1")
    lines = {key: str(value) for key, value in keys.items()}
    machine = X86_64.but("bench", release="6.1.0-bench")
    crash = Crash(machine, ram=[(0, size)], lines=lines, fill=fill, pages=pages)
    crash.symbol("init_top_pgt", int(crash.lines["SYMBOL(swapper_pg_dir)"], 16))
    path = folder / name
    save_core(crash, path)
    return path


def compare(label: str, path: Path, level: int) -> None:
    """One line."""
    crash = open_source(str(path), Options())
    size = sum(r.size for r in crash.memory.ranges)
    mine, their = [], []
    for _ in range(RUNS):
        their.append(theirs(path, level))
        mine.append(ours(crash, level))
    a, b = min(mine), min(their)
    print(
        f"{label:28} -d {level:<2} {size / GIB:6.2f} GiB  oldmemfs {a * 1e3:8.2f} ms "
        f"{size / a / 1e9:8.0f} GB/s  makedumpfile {b * 1e3:8.2f} ms {size / b / 1e9:8.0f} GB/s  "
        f"{b / a:5.1f}x  {a * (1 << 40) / size:6.2f} s/TiB",
        flush=True,
    )


def known_size(path: Path) -> None:
    """One line: medians of five, in turn."""
    mine, their = [], []
    dry_run = ["makedumpfile", "-E", "-d", "31", "--dry-run", str(path), "/dev/null.none"]
    with tempfile.TemporaryDirectory() as mount:
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-P", "-m", "oldmemfs", path, mount], check=True)
            size = os.stat(f"{mount}/vmcore-kern").st_size
            mine.append(time.perf_counter() - start)
            subprocess.run(["umount", mount], check=True)
            start = time.perf_counter()
            subprocess.run(dry_run, check=True, capture_output=True)
            their.append(time.perf_counter() - start)
    a, b = median(mine), median(their)
    print(f"size {size} known  oldmemfs, mount included {a:.2f} s  makedumpfile {b:.2f} s  "
          f"{a / b:.2f}")  # fmt: skip


def all_kinds(size: int) -> None:
    """The recorded crashes, and synthetic kernels of ``size`` bytes."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        folder = Path(name)
        for recorded in golden_sets():
            path = folder / "vmcore"
            save_vmcore(dump(recorded), path)
            compare(recorded, path, 31)
        path.unlink()
        first = (512 << 20) // PAGE
        path = synthetic(folder, "used", size, dict.fromkeys(range(first), PLAIN), USED)
        for level in (16, 31):
            compare("1/2 GiB kernel, rest users'", path, level)
        path.unlink()
        path = synthetic(folder, "kernel", size, {}, PLAIN)
        compare("all the kernel's", path, 16)
        path.unlink()
        blocks = dict.fromkeys(range(first, size // PAGE, 1024), FREE)
        path = synthetic(folder, "free", size, blocks, PLAIN)
        compare("1/2 GiB kernel, rest free", path, 31)


def main() -> None:
    what = sys.argv[1] if len(sys.argv) > 1 else "8"
    if what.isdigit():
        all_kinds(int(what) * GIB)
    else:
        for level in (16, 31):
            compare(Path(what).name, Path(what), level)
        known_size(Path(what))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak RSS {peak / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
