"""A stock Debian panics; its own kdump-tools save the dump through oldmemfs and reboot.

What was saved is compared with the view that oldmemfs gives of the machine's memory on the host.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from . import debian
from .tools import missing, run

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.vm
VIEW = "vmcore-kern"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for disks and memories, emptied at the end."""
    lacking = missing() + debian.lacking()
    if lacking:
        pytest.skip(f"this host lacks {', '.join(lacking)}: see tests/vm/setup.sh")
    folder = tmp_path_factory.mktemp("debian")
    yield folder
    shutil.rmtree(folder)


@contextlib.contextmanager
def mounted(crashed: debian.Crashed) -> Iterator[Path]:
    """The machine's memory, as oldmemfs on the host gives it."""
    with tempfile.TemporaryDirectory(prefix="oldmemfs-debian-") as folder:
        where = f"elfcorehdr={crashed.header()}"
        run([sys.executable, "-P", "-m", "oldmemfs", crashed.machine.ram, folder, "-o", where])
        try:
            yield Path(folder)
        finally:
            run(["umount", folder])


def look(crashed: debian.Crashed, folder: Path) -> Path:
    """The one saved dump, which must be the view and nobody else's to read."""
    (dump,) = folder.glob("*/dump.*")
    assert not list(folder.glob("*/*incomplete*"))
    assert dump.stat().st_mode & 0o077 == 0
    with mounted(crashed) as mount:
        run(["cmp", dump, mount / VIEW])
        (log,) = folder.glob("*/dmesg.*")
        assert "sysrq triggered crash" in log.read_text()
        assert log.stat().st_mode & 0o077 == 0
    said = crashed.console()
    assert "reboot: Restarting system" in said.split("reset_devices")[-1]
    assert "falling back" not in said
    return dump


@pytest.fixture(scope="module")
def saved(work: Path) -> Path:
    """The first run: saved on the machine's own disk."""
    place = work / "local"
    place.mkdir()
    crashed = debian.crash(place, view=VIEW)
    crashed.fetch("/var/crash", place / "saved")
    return look(crashed, place / "saved/crash")


def test_it_is_an_elf_core(saved: Path) -> None:
    told = run(["readelf", "-hlW", saved])
    assert "CORE (Core file)" in told
    assert "LOAD" in told


def test_drgn_opens_it(saved: Path) -> None:
    drgn = pytest.importorskip("drgn", reason="drgn is not installed here")
    program = drgn.Program()
    program.set_core_dump(saved)
    assert program["VMCOREINFO"].string_().startswith(b"OSRELEASE=")


def test_crash_opens_it(saved: Path) -> None:
    if not shutil.which("crash"):
        pytest.skip("crash is not installed here")
    assert run(["crash", "--osrelease", saved]).strip().endswith("-cloud-amd64")


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def sshd(folder: Path) -> Iterator[debian.Remote]:
    """An sshd of our own on the loopback, which lets one key in."""
    for name in ("key", "host"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name])
    port = _port()
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {folder}/key.pub\nStrictModes no\nPermitRootLogin prohibit-password\n"
        "PasswordAuthentication no\nSubsystem sftp internal-sftp\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    program = shutil.which("sshd") or "/usr/sbin/sshd"
    daemon = subprocess.Popen(
        [program, "-D", "-f", folder / "sshd_config", "-E", folder / "sshd.log"], umask=0o077
    )
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert daemon.poll() is None, (folder / "sshd.log").read_text()
            time.sleep(0.1)
        yield debian.Remote(port, folder / "key", folder / "host.pub", folder / "received")
    finally:
        daemon.terminate()
        daemon.wait(20)


def test_it_is_sent_over_ssh(work: Path) -> None:
    if not (shutil.which("sshd") or Path("/usr/sbin/sshd").exists()):
        pytest.skip("no sshd here (Debian package openssh-server)")
    place = work / "remote"
    place.mkdir()
    with sshd(place) as remote:
        crashed = debian.crash(place, view=VIEW, remote=remote)
        look(crashed, remote.folder)
