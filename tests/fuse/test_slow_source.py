# SPDX-License-Identifier: MIT
"""A source that is slow, or hangs: everything that does not need it is served, and it can be ended.

What must not wait is done by children with a time limit: an error would be a test that hangs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
from functools import partial
from typing import TYPE_CHECKING

import pytest
from support.crash import Crash
from support.crash_arch import X86_64
from support.mounting import PATIENCE, is_mounted, needs_mount
from support.served import DATA, START, write_core
from support.slow import Slow, Waiting, compiled, slow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = needs_mount
PROMPT = PATIENCE  # what needs no source takes milliseconds; the source hangs until it is let go
PART = (START + DATA // 2, START + DATA)  # of the core: slow
NAMES = ("vmcore", "oldmem", "status", "badpages", "vmcoreinfo")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    return compiled(tmp_path_factory.mktemp("slow"))


@pytest.fixture(scope="module")
def crash() -> Crash:
    made = Crash(X86_64, fill={"flags": 1})
    made.lines |= {"NUMBER(PG_hwpoison)": "22"}
    return made


def struct_pages(crash: Crash) -> tuple[int, int]:
    """Some in the middle of a section, where only the sweep in C looks."""
    at = crash.struct_phys((crash.ranges[-1][0] >> 12) + 0x1000)
    return at, at + 4096


@contextlib.contextmanager
def scanned(
    crash: Crash, library: str, tmp_path: Path, options: str = "", script: str = ""
) -> Iterator[Slow]:
    """The crash, mounted; its struct pages are the slow part."""
    (tmp_path / "header").write_bytes(crash.elfcorehdr(2))
    source = f"/proc/{os.getpid()}/fd/{crash.ram.fd}"
    options = f"elfcorehdr={tmp_path}/header{options}"
    with slow(library, source, struct_pages(crash), tmp_path, options, script=script) as made:
        assert is_mounted(made.mnt)
        yield made


@contextlib.contextmanager
def read_from(library: str, tmp_path: Path, options: str, *, deaf: bool = False) -> Iterator[Slow]:
    """The core, mounted; half of its memory is slow."""
    core = str(tmp_path / "core")
    write_core(core)
    with slow(library, core, PART, tmp_path, options, deaf=deaf) as made:
        yield made


def promptly(act: object) -> bool:
    return Waiting(act).wait(PROMPT)  # type: ignore[arg-type]


def read_some(path: Path, at: int) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.pread(fd, 4096, at)
    finally:
        os.close(fd)


# -- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize("reads", ["c", "python"])
def test_a_scan_that_lasts_blocks_no_other_name(
    crash: Crash, library: str, tmp_path: Path, reads: str
) -> None:
    """The first looks at all names are made while the scan waits, and no dentry is known."""
    with scanned(crash, library, tmp_path, f",reads={reads}") as made:
        made.hang()
        size = tmp_path / "size"

        def tell() -> None:
            size.write_text(str((made.mnt / "vmcore-kern").stat().st_size))

        told = Waiting(tell)
        made.wait_until_met()
        for name in ("status", "vmcore", "dmesg", "cpu/1/registers", "summary", "badpages"):
            assert promptly(lambda name=name: (made.mnt / name).stat()), name
        assert promptly(lambda: os.listdir(made.mnt))
        assert promptly(lambda: (made.mnt / "vmcore").open("rb").read(1 << 20))
        assert not promptly(lambda: (made.mnt / "absent").stat())
        with contextlib.suppress(OSError):
            (made.mnt / "vmcore-new").touch()  # takes the directory's lock for itself alone
        assert "scanning pages" in (made.mnt / "status").read_text()
        assert not told.has_ended()
        made.let_go()
        assert told.wait()
        with (made.mnt / "vmcore-kern").open("rb") as file:
            assert os.fstat(file.fileno()).st_size == int(size.read_text())
            assert len(file.read()) == int(size.read_text()) > 0


def test_many_who_wait_for_a_scan_starve_nobody(crash: Crash, library: str, tmp_path: Path) -> None:
    """More of them than trio has threads, and than pyfuse3 has tasks unless told otherwise."""
    with scanned(crash, library, tmp_path) as made:
        made.hang()
        told = [Waiting((made.mnt / "vmcore-kern").stat) for _ in range(150)]
        made.wait_until_met()
        assert promptly((made.mnt / "status").read_text)
        assert promptly((made.mnt / "summary").read_text)
        threads = len(os.listdir(f"/proc/{made.process.pid}/task"))
        assert threads < 30, "one waits for the scan, not each"
        made.let_go()
        assert all(one.wait() for one in told)


# -- reads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("readers", [1, 12])
@pytest.mark.parametrize("reads", ["c", "python", "c,cache=pages", "python,cache=pages"])
def test_reads_that_hang_block_nothing_else(
    library: str, tmp_path: Path, reads: str, readers: int
) -> None:
    with read_from(library, tmp_path, f"reads={reads}") as made:
        made.hang()
        got = tmp_path / "got"

        def read() -> None:
            got.write_bytes(read_some(made.mnt / "vmcore", PART[0] + 8192))

        stuck = [Waiting(read) for _ in range(readers)]
        made.wait_until_met()
        for name in NAMES:
            assert promptly(lambda name=name: (made.mnt / name).stat()), name
        assert promptly(lambda: os.listdir(made.mnt))
        assert promptly((made.mnt / "status").read_text)
        assert not any(one.has_ended() for one in stuck)
        assert promptly(lambda: read_some(made.mnt / "oldmem", START))
        made.let_go()
        assert all(one.wait() for one in stuck)
        with open(tmp_path / "core", "rb") as core:
            core.seek(PART[0] + 8192)
            assert got.read_bytes() == core.read(4096)
        assert "bad pages    0 bytes" in (made.mnt / "status").read_text()


# -- ends ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("deaf", [False, True], ids=["interruptible", "deaf"])
@pytest.mark.parametrize("reads", ["c", "python"])
def test_a_signal_ends_it_while_the_source_hangs(
    library: str, tmp_path: Path, reads: str, *, deaf: bool
) -> None:
    """The reader gets an error, never zeros."""
    with read_from(library, tmp_path, f"reads={reads}", deaf=deaf) as made:
        made.hang()

        def read(answer: Path) -> None:
            try:
                data = read_some(made.mnt / "vmcore", PART[0] + 8192)
                answer.write_text(f"{len(data)} bytes")
            except OSError as error:
                answer.write_text(errno.errorcode[error.errno or 0])

        answers = [tmp_path / f"answer{i}" for i in range(3)]
        stuck = [Waiting(partial(read, answer)) for answer in answers]
        made.wait_until_met()
        made.process.terminate()
        status, said = made.end(PROMPT)
        assert not is_mounted(made.mnt)
        assert all(one.wait() for one in stuck)
        told = {answer.read_text() for answer in answers}
        # ENOENT: a reader that came when the mount was gone.
        assert told <= {"ECONNABORTED", "ENOTCONN", "EIO", "EINTR", "ENOENT"}
        assert status == 0
        assert "Traceback" not in said


STAGES = ("memory_map", "sections", "restore", "build")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("stage", STAGES)
def test_a_signal_ends_it_at_every_stage_of_a_scan(
    crash: Crash, library: str, tmp_path: Path, stage: str, number: int
) -> None:
    """Each stage is made to last for ever, in Python, where nothing looks at a cancelled scan."""
    script = f"""
import os, sys
from oldmemfs import cli; from oldmemfs.filter import filtered

def for_ever(*words, **named):
    open({str(tmp_path / "met")!r}, "w").close()
    while True:
        sum(range(1000))

assert filtered.{stage}
filtered.{stage} = for_ever
cli.main()
"""
    with scanned(crash, library, tmp_path, script=script) as made:
        told = Waiting((made.mnt / "vmcore-kern").stat)
        made.wait_until_met()
        assert promptly((made.mnt / "status").read_text)
        made.process.send_signal(number)
        status, said = made.end(PROMPT)
        assert not is_mounted(made.mnt)
        assert not told.wait()
        assert status == 0
        assert not re.search("Traceback|error", said), said


def test_a_signal_ends_it_while_the_scan_reads(crash: Crash, library: str, tmp_path: Path) -> None:
    with scanned(crash, library, tmp_path) as made:
        made.hang()
        told = [Waiting((made.mnt / name).stat) for name in ("vmcore-kern", "filter-report")]
        made.wait_until_met()
        made.process.terminate()
        status, _ = made.end(PROMPT)
        assert (status, is_mounted(made.mnt)) == (0, False)
        assert not any(one.wait() for one in told)
