# SPDX-License-Identifier: MIT
"""Read speed of a mounted vmcore beside its peers, in one run: ratios, nothing asserted.

    python3 tests/tools/bench_read.py IMAGE [-o OPTIONS] [--rounds 5] [--peer FILE]

IMAGE is mounted with oldmemfs (as it comes, and with each of --variants), the same bytes are served
by plainfs.c (a C file system on libfuse, cached and direct) and read from the tmpfs file itself. In
a capture kernel, without IMAGE, the peer is /proc/vmcore. The rounds take the readers in turn.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = os.path.dirname(os.path.abspath(__file__))
RANDOM_READS = 8192


def dd(path: str, block: str) -> int:
    """Read the whole file with dd; bytes read."""
    subprocess.run(
        ["dd", f"if={path}", "of=/dev/null", f"bs={block}"], check=True, capture_output=True
    )
    return os.path.getsize(path)


def copy(path: str) -> int:
    """Copy the file to tmpfs with cp; bytes copied."""
    target = "/dev/shm/oldmemfs-bench-copy"
    try:
        subprocess.run(["cp", path, target], check=True)
        return os.path.getsize(target)
    finally:
        os.unlink(target)


def random_reads(path: str) -> int:
    """Read pages at random places; bytes read."""
    chance = random.Random(1)
    fd = os.open(path, os.O_RDONLY)
    try:
        pages = os.fstat(fd).st_size // 4096
        for _ in range(RANDOM_READS):
            os.pread(fd, 4096, chance.randrange(pages) * 4096)
    finally:
        os.close(fd)
    return RANDOM_READS * 4096


def four(path: str) -> int:
    """Read the whole file with four dd at once; bytes read."""
    command = ["dd", f"if={path}", "of=/dev/null", "bs=1M"]
    readers = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(4)]
    if any(reader.wait() for reader in readers):
        raise SystemExit(f"{path}: a reader failed")
    return 4 * os.path.getsize(path)


JOBS: dict[str, Callable[[str], int]] = {
    "dd bs=1M": lambda path: dd(path, "1M"),
    "4 x dd bs=1M": four,
    "dd bs=128k": lambda path: dd(path, "128k"),
    "cp": copy,
    "random 4k": random_reads,
}


@contextlib.contextmanager
def mounted(command: list[str], directory: str) -> Iterator[str]:
    """Run a command that mounts on ``directory``; vmcore in it, until the end."""
    os.makedirs(directory, exist_ok=True)
    process = subprocess.Popen(command)
    path = os.path.join(directory, "vmcore")
    deadline = time.monotonic() + 30
    while not os.path.exists(path):
        if time.monotonic() > deadline or process.poll() not in (None, 0):
            raise SystemExit(f"{command[0]} did not mount")
        time.sleep(0.02)
    try:
        yield path
    finally:
        subprocess.run(["umount", directory], check=True)
        process.wait()


def drop_cache(path: str) -> None:
    """Drop what the page cache holds of a file."""
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def measure(readers: dict[str, str], rounds: int) -> dict[tuple[str, str], float]:
    """Median MB/s of each job by each reader."""
    speeds: dict[tuple[str, str], list[float]] = {}
    order = list(readers.items())
    for turn in range(rounds + 1):
        order = order[1:] + order[:1]  # who comes first meets what the job before left to be done
        for job, run in JOBS.items():
            for reader, path in order:
                if not path.startswith("/proc/"):
                    drop_cache(path)
                start = time.perf_counter()
                size = run(path)
                if turn:  # the first round warms up
                    speeds.setdefault((job, reader), []).append(
                        size / (time.perf_counter() - start) / 1e6
                    )
    return {key: statistics.median(values) for key, values in speeds.items()}


def report(speeds: dict[tuple[str, str], float], readers: list[str]) -> None:
    """A table of MB/s, each with its ratio to the first reader's."""
    print(f"{'MB/s (x of the first)':<22}" + "".join(f"{r:>22}" for r in readers))
    for job in JOBS:
        first = speeds[job, readers[0]]
        row = (f"{speeds[job, r]:>13.0f} ({speeds[job, r] / first:4.2f}x)" for r in readers)
        print(f"{job:<22}" + "".join(f"{cell:>22}" for cell in row))


def main() -> None:
    """Mount everything, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("image", nargs="?")
    parser.add_argument("-o", dest="options", default="")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--variants", default="cache=pages reads=python", help="-o values to compare"
    )
    arguments = parser.parse_args()
    oldmemfs = [sys.executable, "-P", "-m", "oldmemfs"]
    source = [arguments.image] if arguments.image else []
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm"))
        readers = {}
        extra = {"oldmemfs": ""} | {v: v for v in arguments.variants.split()}
        for name, option in extra.items():
            mountpoint = os.path.join(work, name)
            os.mkdir(mountpoint)
            options = ",".join(filter(None, [arguments.options, option, "ro"]))
            command = [*oldmemfs, *source, mountpoint, "-f", "-o", options]
            readers[name] = stack.enter_context(mounted(command, mountpoint))
        if arguments.image:
            same = os.path.join(work, "same")
            shutil.copyfile(readers["oldmemfs"], same)
            binary = os.path.join(work, "plainfs")
            flags = subprocess.run(
                ["pkg-config", "--cflags", "--libs", "fuse3"],
                check=True, capture_output=True, text=True,
            ).stdout.split()  # fmt: skip
            subprocess.run(
                ["gcc", "-O2", os.path.join(HERE, "plainfs.c"), "-o", binary, *flags], check=True
            )
            for name, more in (("C libfuse", []), ("C libfuse direct", ["direct"])):
                directory = os.path.join(work, name)
                command = [binary, same, directory, *more]
                readers[name] = stack.enter_context(mounted(command, directory))
            readers["tmpfs file"] = same
        else:
            readers["/proc/vmcore"] = "/proc/vmcore"
        report(measure(readers, arguments.rounds), list(readers))


if __name__ == "__main__":
    main()
