# SPDX-License-Identifier: MIT
"""64 readers at once, some killed, some mapping: every byte right, nothing left behind.

OLDMEMFS_STRESS_KILLS says how many readers are killed, 50 in a second; some when it says nothing.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import signal
import subprocess
import time
import traceback
from typing import TYPE_CHECKING

import pytest
from support.mounting import needs_mount
from support.served import MIB, Daemon, served, write_core

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = needs_mount
KILLS = int(os.environ.get("OLDMEMFS_STRESS_KILLS", "150"))
READERS = 64


def read_once(directory: str, chance: random.Random, contents: dict[str, bytes]) -> None:
    """Open a view, read or map it here and there, close it; the bytes must be the model's."""
    view = chance.choice([*contents, "status", "badpages"])
    fd = os.open(os.path.join(directory, view), os.O_RDONLY)
    try:
        for _ in range(chance.randrange(1, 20)):
            whole = contents.get(view)
            if whole is None:
                assert os.pread(fd, MIB, 0).endswith(b"\n")
                continue
            at = chance.randrange(len(whole) + 5000)
            size = chance.choice([1, 100, 4096, 70_000, MIB, 2 * MIB])
            wanted = whole[at : at + size]
            if wanted and chance.random() < 0.2:
                with mmap.mmap(fd, 0, mmap.MAP_PRIVATE, mmap.PROT_READ) as mapped:
                    got = mapped[at : at + size]
            else:
                got = os.pread(fd, size, at)
            assert got == wanted, f"{view} {at:#x} {size:#x}"
    finally:
        os.close(fd)


def start_reader(directory: str, seed: int, contents: dict[str, bytes]) -> int:
    """Fork a reader that reads until it is killed; it ends by itself only if a byte is wrong."""
    child = os.fork()
    if child:
        return child
    try:
        chance = random.Random(seed)
        while True:
            read_once(directory, chance, contents)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(7)


def resources(daemon: Daemon) -> tuple[int, int]:
    """Descriptors, and KiB of anonymous memory, of the daemon."""
    proc = f"/proc/{daemon.process.pid}"
    with open(f"{proc}/status") as file:
        anonymous = next(line for line in file if line.startswith("RssAnon"))
    return len(os.listdir(f"{proc}/fd")), int(anonymous.split()[1])


@pytest.mark.parametrize("cache", ["none", "pages"])
def test_many_readers(tmp_path: Path, cache: str) -> None:
    path = str(tmp_path / "core")
    contents = write_core(path)
    with served(path, str(tmp_path / "mount"), f"reads=c,cache={cache}") as daemon:
        chance = random.Random(1)
        for view in contents:  # plans are built, buffers touched
            with open(daemon.path(view), "rb") as file:
                file.read()
        readers = [start_reader(daemon.directory, i, contents) for i in range(READERS)]
        try:
            for killed in range(1, KILLS + 1):
                time.sleep(0.02)
                slot = chance.randrange(READERS)
                os.kill(readers[slot], signal.SIGKILL)
                _, status = os.waitpid(readers[slot], 0)
                assert os.WIFSIGNALED(status), f"a reader ended with {status:#x}"
                readers[slot] = start_reader(daemon.directory, READERS + killed, contents)
                if killed == KILLS // 2:
                    before = resources(daemon)
            after = resources(daemon)
        finally:
            for reader in readers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(reader, signal.SIGKILL)
            statuses = [os.waitpid(reader, 0)[1] for reader in readers]
        assert all(map(os.WIFSIGNALED, statuses)), "a reader found a wrong byte"
        assert after[0] <= before[0], "descriptors leak"
        # Each of up to four threads may meet its first long request late: it has 1 MiB for that.
        assert after[1] < before[1] + (8 << 10), "memory leaks"


def test_sanitizers_find_nothing() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    done = subprocess.run(
        [os.path.join(here, "sanitize.sh"), "2"], capture_output=True, text=True, timeout=600
    )
    if "cannot find" in done.stderr:
        pytest.skip("no sanitizer libraries here: apt-get install libtsan2 libasan8 libubsan1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("reads right") == 2
