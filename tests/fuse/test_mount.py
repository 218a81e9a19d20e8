# SPDX-License-Identifier: MIT
"""The mount, through the real kernel: tools, readers, modes, and every way to end."""

from __future__ import annotations

import mmap
import os
import random
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from support.image import HEADER, LOAD, Segment, crashed, vmcore_of
from support.mounting import (
    ENVIRONMENT,
    OLDMEMFS,
    PATIENCE,
    is_mounted,
    mounted,
    needs_mount,
    run,
    wait_until,
)

from oldmemfs.fuse import mount as mount_module

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = needs_mount
LOADS = [
    Segment(LOAD, 0x200000, 0x3210, vaddr=0xFFFFFFFF81000000, paddr=0x1000),
    Segment(LOAD, 0x100000, 0x500000, vaddr=0xFFFF888000100000),
]
KERNEL = ["dmesg", "dmesg.json", "filter-report", "vmcore-kern"]  # views that need one
FILES = ["badpages", "dmesg", "dmesg.json", "oldmem", "status", "summary", "summary.json"]
FILES += ["filter-report", "vmcore", "vmcore-kern", "vmcoreinfo"]


class Case:
    """A crashed image, mounted."""

    def __init__(self, tmp: Path) -> None:
        image = crashed(LOADS, size=8 << 20)
        self.path = image.write(tmp / "ram.img")
        self.vmcore = vmcore_of(bytes(image.data), HEADER)
        self.mnt = tmp / "mnt"


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


@pytest.fixture(params=["", "cache=none", "cache=pages"])
def mount(case: Case, request: pytest.FixtureRequest) -> Iterator[Case]:
    with mounted(case.path, case.mnt, request.param):
        yield case


def test_tools(mount: Case, tmp_path: Path) -> None:
    source, copy = str(mount.mnt / "vmcore"), str(tmp_path / "copy")
    assert run("cp", source, copy).returncode == 0
    assert run("cmp", source, copy).returncode == 0
    assert (tmp_path / "copy").read_bytes() == mount.vmcore
    assert run("cp", "--sparse=always", source, copy).returncode == 0
    assert (tmp_path / "copy").read_bytes() == mount.vmcore
    dd = f"dd if={source} bs=5000 skip=3 count=7 2>/dev/null | cmp - {tmp_path}/part"
    (tmp_path / "part").write_bytes(mount.vmcore[15000:50000])
    assert run("sh", "-c", dd).returncode == 0
    cat = subprocess.run(["cat", source], capture_output=True, check=True)
    assert cat.stdout == mount.vmcore
    assert sorted(os.listdir(mount.mnt)) == sorted([*FILES, "cpu"])


def test_readelf_and_gdb_read_it(mount: Case) -> None:
    vmcore = str(mount.mnt / "vmcore")
    told = run("readelf", "-lnW", vmcore)
    assert "CORE (Core file)" in told.stdout
    assert told.stdout.count("NT_PRSTATUS") == 2
    assert "VMCOREINFO" in told.stdout
    assert "0xffff888000100000 0x0000000000100000 0x500000 0x500000 RWE" in told.stdout
    word = int.from_bytes(mount.vmcore[0x7000:0x7008], "little")
    gdb = run("gdb", "-nx", "-batch", "-ex", "x/gx 0xffff888000101000", "-c", vmcore)
    assert f"0x{word:016x}" in gdb.stdout, gdb.stdout + gdb.stderr


def test_modes(mount: Case) -> None:
    assert stat.S_IMODE(mount.mnt.stat().st_mode) == 0o500
    assert stat.S_IMODE((mount.mnt / "cpu/1").stat().st_mode) == 0o500
    for name in [*FILES, "cpu/1/registers"]:
        told = (mount.mnt / name).stat()
        assert (told.st_mode, told.st_uid, told.st_nlink) == (stat.S_IFREG | 0o400, 0, 1)
        if name in KERNEL:  # there is no kernel in this image: nothing to be opened
            assert told.st_size == 0
            with pytest.raises(OSError, match="Input/output error"):
                (mount.mnt / name).read_bytes()
        else:
            assert told.st_size == len((mount.mnt / name).read_bytes())
    assert (mount.mnt / "vmcore").stat().st_mtime == 1700000000
    with open("/proc/self/mounts", errors="replace") as mounts:
        (line,) = (m for m in mounts if f" {mount.mnt} " in m)
    words = line.split()
    assert words[0] == mount.path
    assert words[2] == "fuse.oldmemfs"
    assert {"ro", "nosuid", "nodev", "noexec", "default_permissions"} <= set(words[3].split(","))
    assert "allow_other" not in words[3]


def test_nothing_can_be_written(mount: Case) -> None:
    for path in (mount.mnt / "vmcore", mount.mnt / "new"):
        with pytest.raises(OSError, match="Read-only file system"):
            path.write_bytes(b"x")
    with pytest.raises(FileNotFoundError):
        (mount.mnt / "absent").stat()


def test_a_private_mapping(mount: Case) -> None:
    with (mount.mnt / "vmcore").open("rb") as file:
        size = len(mount.vmcore)
        mapped = mmap.mmap(file.fileno(), size, mmap.MAP_PRIVATE, mmap.PROT_READ)
        assert mapped[:] == mount.vmcore
        mapped.close()


def test_eight_readers_at_once(mount: Case) -> None:
    def read(seed: int) -> int:
        chance = random.Random(seed)
        fd = os.open(mount.mnt / "vmcore", os.O_RDONLY)
        wrong = 0
        for _ in range(150):
            at = chance.randrange(len(mount.vmcore) + 100)
            size = chance.choice([1, 100, 4096, 65536, 1 << 20, 3 << 20])
            wrong += os.pread(fd, size, at) != mount.vmcore[at : at + size]
        os.close(fd)
        return wrong

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(8))) == [0] * 8


def test_oldmem_by_address(mount: Case) -> None:
    fd = os.open(mount.mnt / "oldmem", os.O_RDONLY)
    with open(mount.path, "rb") as image:
        ram = image.read()
    assert os.pread(fd, 0x3210, 0x1000) == ram[0x200000:0x203210]
    assert os.pread(fd, 0x1000, 0) == bytes(0x1000)
    assert os.pread(fd, 0x10000, 0x345678) == ram[0x345678:0x355678]
    assert os.fstat(fd).st_size == 0x600000
    os.close(fd)


def test_an_image_cut_short_while_mounted(case: Case) -> None:
    with mounted(case.path, case.mnt) as daemon:
        size = len(case.vmcore)
        os.truncate(case.path, 0x180000)
        got = (case.mnt / "vmcore").read_bytes()
        assert len(got) == size
        assert got[0x6000 : 0x6000 + 0x80000] == case.vmcore[0x6000 : 0x6000 + 0x80000]
        assert got[0x6000 + 0x80000 :] == bytes(0x480000)
        listed = (case.mnt / "badpages").read_text()
        assert "0x200000             0x0000000000004000 vmcore       0x2000\n" in listed
        assert "0x180000             0x0000000000480000 vmcore       0x86000\n" in listed
        assert f"bad pages    {0x484000} bytes" in (case.mnt / "status").read_text()
        assert daemon.poll() is None


def test_strict_refuses_exactly_what_is_bad(case: Case) -> None:
    with mounted(case.path, case.mnt, "strict"):
        os.truncate(case.path, 0x180000)
        fd = os.open(case.mnt / "vmcore", os.O_RDONLY)
        assert os.pread(fd, 0x1000, 0x85000) == case.vmcore[0x85000:0x86000]
        with pytest.raises(OSError, match="Input/output error"):
            os.pread(fd, 0x1000, 0x86000)
        os.close(fd)


def test_a_reader_killed_in_the_middle(case: Case) -> None:
    with mounted(case.path, case.mnt) as daemon:
        for _ in range(10):
            reader = subprocess.Popen(
                [sys.executable, "-c", "import sys\nwhile True: open(sys.argv[1], 'rb').read()",
                 str(case.mnt / "vmcore")]
            )  # fmt: skip
            wait_until(lambda pid=reader.pid: str(case.mnt) in " ".join(_links(pid)))
            reader.send_signal(signal.SIGKILL)
            reader.wait()
        assert (case.mnt / "vmcore").read_bytes() == case.vmcore
        assert daemon.poll() is None
        assert len(os.listdir(f"/proc/{daemon.pid}/fd")) < 20


def _links(pid: int) -> list[str]:
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_cleanly(case: Case, number: signal.Signals) -> None:
    with mounted(case.path, case.mnt) as daemon:
        assert (case.mnt / "status").read_text().startswith("oldmemfs")
        daemon.send_signal(number)
        assert daemon.wait(PATIENCE) == 0
        assert not is_mounted(case.mnt)
        assert daemon.stderr is not None
        assert daemon.stderr.read() == ""


def test_umount_ends_it_cleanly_and_busy_is_busy(case: Case) -> None:
    with mounted(case.path, case.mnt) as daemon:
        with (case.mnt / "vmcore").open("rb") as file:
            busy = run("umount", str(case.mnt))
            assert busy.returncode != 0
            assert "busy" in busy.stderr
            assert file.read(100) == case.vmcore[:100]
        assert run("umount", str(case.mnt)).returncode == 0
        assert daemon.wait(PATIENCE) == 0
        assert daemon.stderr is not None
        assert daemon.stderr.read() == ""


def test_it_detaches_only_when_it_serves(case: Case) -> None:
    case.mnt.mkdir()
    done = run(*OLDMEMFS, case.path, str(case.mnt), "-o", "rw,dev,suid")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    try:
        assert (case.mnt / "vmcore").read_bytes() == case.vmcore
    finally:
        assert run("umount", str(case.mnt)).returncode == 0


@pytest.mark.parametrize("words", ["fuse oldmemfs#{}", "fuse.oldmemfs {}", "oldmemfs {}"])
def test_mount_8(case: Case, tmp_path: Path, words: str) -> None:
    """mount(8) looks for its helpers in /sbin and they in PATH: lay ours there, in a namespace."""
    case.mnt.mkdir()
    (tmp_path / "expected").write_bytes(case.vmcore)
    for name in ("oldmemfs", "mount.oldmemfs"):
        program = tmp_path / name
        start = (
            f"import sys; sys.argv[0] = {name!r}; from oldmemfs.cli import main; sys.exit(main())"
        )
        preload = ENVIRONMENT.get("LD_PRELOAD", "")
        program.write_text(
            f'#!/bin/sh\nLD_PRELOAD={preload} exec {sys.executable} -P -c "{start}" "$@"\n'
        )
        program.chmod(0o755)
    script = f"""set -e
mount -t tmpfs none /mnt
mkdir /mnt/upper /mnt/work
mount -t overlay none -o lowerdir=/usr/sbin,upperdir=/mnt/upper,workdir=/mnt/work /usr/sbin
cp {tmp_path}/oldmemfs {tmp_path}/mount.oldmemfs /usr/sbin/
mount -t {words.format(case.path)} {case.mnt}
cmp {case.mnt}/vmcore {tmp_path}/expected
grep ' {case.mnt} fuse.oldmemfs ro,nosuid,nodev,noexec' /proc/mounts
umount {case.mnt}
"""
    done = run("unshare", "-m", "sh", "-c", script)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_a_second_mount_on_the_same_place_is_refused(case: Case, tmp_path: Path) -> None:
    with mounted(case.path, case.mnt) as daemon:
        (tmp_path / "link").symlink_to(case.mnt)
        for name in (case.mnt, tmp_path / "link"):
            done = run(*OLDMEMFS, case.path, str(name))
            assert done.returncode == 2
            assert f"{case.mnt}: an oldmemfs is mounted there already: umount" in done.stderr
            assert done.stderr.count("\n") == 1
        daemon.kill()
        daemon.wait(PATIENCE)
        assert "is mounted there already" in run(*OLDMEMFS, case.path, str(case.mnt)).stderr
    assert not is_mounted(case.mnt)


def test_in_the_foreground_it_says_where_it_serves(case: Case) -> None:
    case.mnt.mkdir()
    command = [*OLDMEMFS, case.path, str(case.mnt), "-f"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as daemon:
        assert daemon.stdout is not None
        told = daemon.stdout.readline()
        daemon.terminate()
        assert daemon.wait(PATIENCE) == 0
    wanted = f"oldmemfs: serving {case.path} on {case.mnt}; umount, or Ctrl-C, ends it\n"
    assert told == wanted


def test_a_full_disk_for_its_words_does_not_end_a_mount(case: Case) -> None:
    case.mnt.mkdir()
    command = [*OLDMEMFS, case.path, str(case.mnt), "-f"]
    with open("/dev/full", "w") as full:
        daemon = subprocess.Popen(command, stdout=full, env=ENVIRONMENT)
    try:
        wait_until(lambda: is_mounted(case.mnt))
        assert (case.mnt / "vmcore").read_bytes() == case.vmcore
    finally:
        daemon.terminate()
        assert daemon.wait(PATIENCE) == 0


def test_allow_other_for_others_needs_a_line_in_fuse_conf(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    manner = mount_module.MountSettings(
        strict=False, direct_io=True, allow=frozenset(["allow_other"]), in_c=False, debug=False,
        name="x",
    )  # fmt: skip
    conf = tmp_path / "fuse.conf"
    monkeypatch.setattr(mount_module, "_FUSE_CONF", str(conf))
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    for text, missing in (("#user_allow_other\n", True), ("x\nuser_allow_other\n", False)):
        conf.write_text(text)
        told = mount_module._advice(manner)
        assert (
            told.startswith(f"-o allow_other needs root, or a line user_allow_other in {conf}")
            == missing
        )


def test_a_failing_mount_leaves_nothing(case: Case) -> None:
    case.mnt.mkdir()
    done = run(*OLDMEMFS, f"{case.path}.absent", str(case.mnt))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert not is_mounted(case.mnt)
