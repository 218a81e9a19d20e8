# SPDX-License-Identifier: MIT
"""What systemd and the system's log hear of a daemon."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.image import LOAD, Segment, crashed
from support.mounting import OLDMEMFS, PATIENCE, is_mounted, needs_mount, run

from oldmemfs.host import notify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.settimeout(PATIENCE)
        heard.bind(str(tmp_path / "socket"))
        yield heard


def record(message: str, level: int = logging.WARNING) -> logging.LogRecord:
    return logging.LogRecord("oldmemfs", level, "", 0, message, None, None)


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    address = f"@oldmemfs-test-{os.getpid()}" if abstract else str(tmp_path / "a@b")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(address.replace("@", "\0", 1) if abstract else address)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        notify.tell("READY=1", "STATUS=well")
        assert heard.recv(100) == b"READY=1\nSTATUS=well"


@pytest.mark.parametrize("address", [None, "", "vsock:2:1", "/absent/socket"])
def test_without_systemd_nothing_happens(
    monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify.tell("READY=1")
    assert os.environ.get("NOTIFY_SOCKET") == address


def test_the_log_is_told_line_by_line(listener: socket.socket, tmp_path: Path) -> None:
    notify.SystemLog(str(tmp_path / "socket")).handle(record("one\ntwo", logging.ERROR))
    assert listener.recv(100).decode() == f"<27>oldmemfs[{os.getpid()}]: one"
    assert listener.recv(100).decode() == f"<27>oldmemfs[{os.getpid()}]: two"


def test_the_kernel_log_takes_what_nobody_else_does(tmp_path: Path) -> None:
    kernel_log = tmp_path / "kmsg"
    kernel_log.touch()
    log = notify.SystemLog(str(tmp_path / "absent"), str(kernel_log))
    log.handle(record("x" * 2000))
    told = kernel_log.read_text()
    assert told.startswith("<28>oldmemfs[")
    assert told.endswith("x\n")
    assert len(told) < 1000
    notify.SystemLog("/absent", "/absent/kmsg").handle(record("lost"))


@pytest.fixture
def ram(tmp_path: Path) -> str:
    return crashed([Segment(LOAD, 0x20000, 0x4000)]).write(tmp_path / "ram.img")


@pytest.mark.mount
@needs_mount[1]
def test_a_service_tells_of_its_life(listener: socket.socket, ram: str, tmp_path: Path) -> None:
    mnt = tmp_path / "mnt"
    mnt.mkdir()
    environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "socket")}
    with subprocess.Popen([*OLDMEMFS, ram, str(mnt), "-f"], env=environment) as daemon:
        try:
            assert listener.recv(200) == b"STATUS=opening old memory"
            assert listener.recv(200) == b"STATUS=preparing the views"
            assert listener.recv(200) == f"READY=1\nSTATUS=serving {ram} on {mnt}".encode()
            assert is_mounted(mnt)
            daemon.send_signal(signal.SIGTERM)
            assert listener.recv(200) == b"STOPPING=1"
            assert daemon.wait(PATIENCE) == 0
        finally:
            daemon.terminate()


@pytest.mark.mount
@needs_mount[1]
def test_a_detached_daemon_logs(listener: socket.socket, ram: str, tmp_path: Path) -> None:
    """To the system's log, whose socket is ours here."""
    mnt = tmp_path / "mnt"
    mnt.mkdir()
    fault = f"""
from oldmemfs.host import daemon, notify; from oldmemfs.fuse import filesystem
import sys
def fail(*_, **__):
    raise ValueError("made up")
filesystem.Filesystem._attributes = fail
daemon.SystemLog = lambda: notify.SystemLog({str(tmp_path / "socket")!r}, "/absent/kmsg")
sys.argv = ["oldmemfs", {ram!r}, {str(mnt)!r}]
from oldmemfs.cli import main
sys.exit(main())
"""
    done = run(sys.executable, "-P", "-c", fault)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    try:
        with pytest.raises(OSError, match="Input/output error"):
            (mnt / "vmcore").stat()
        told = [listener.recv(2000).decode()]
        while "ValueError: made up" not in told[-1]:
            told.append(listener.recv(2000).decode())
        assert all(line.startswith("<27>oldmemfs[") for line in told)
    finally:
        assert run("umount", str(mnt)).returncode == 0


@pytest.mark.parametrize("inside", [True, False])
def test_systemd_spares_it_in_an_initramfs(tmp_path: Path, inside: bool) -> None:
    marker = tmp_path / "initrd-release"
    if inside:
        marker.touch()
    script = (
        "import sys; from oldmemfs.host.daemon import survive_switch_root as survive\n"
        "survive(sys.argv[1]); print(ascii(open('/proc/self/cmdline', 'rb').read(4)))"
    )
    done = run(sys.executable, "-P", "-c", script, str(marker))
    assert done.stdout.startswith("b'@" if inside else "b'/"), done.stderr


def test_others_are_ended_first_when_memory_runs_out() -> None:
    """As far as this process may ask for it: a container's root may not."""
    asked = run("sh", "-c", "echo -1000 >/proc/self/oom_score_adj")
    script = (
        "from oldmemfs.host.daemon import outlive_others\n"
        "outlive_others()\n"
        "print(open('/proc/self/oom_score_adj').read())\n"
    )
    done = run(sys.executable, "-P", "-c", script)
    assert done.returncode == 0, done.stderr
    assert (done.stdout.strip() == "-1000") == (asked.returncode == 0)
