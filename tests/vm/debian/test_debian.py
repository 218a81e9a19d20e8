# SPDX-License-Identifier: MIT
"""A stock Debian panics, saves the dump through oldmemfs and reboots, in each way that it can.

What was saved is compared with the view that oldmemfs gives of the machine's memory on the host.
"""

from __future__ import annotations

import contextlib
import functools
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.recipes import commands

from ..tools import missing, run
from . import crashes, symbols, system

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.vm
VIEW = "vmcore-kern"
MINIMAL = Path(__file__).with_name("minimal.crash")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for disks and memories, emptied at the end."""
    lacking = missing() + system.lacking()
    if lacking:
        pytest.skip(f"this host lacks {', '.join(lacking)}: see tests/vm/setup.sh")
    folder = tmp_path_factory.mktemp("debian")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def installed(work: Path) -> Path:
    """The system with oldmemfs."""
    root = work / "installed"
    system.install(root)
    return root


def look(
    crashed: crashes.Crashed, folder: Path, *, dump: str = "dump.*", log: str = "dmesg.*"
) -> Path:
    """The one saved dump, which must be the view and nobody else's to read."""
    (saved,) = folder.glob(f"*/{dump}")
    (saved_log,) = saved.parent.glob(log)
    assert not list(folder.glob("*/*incomplete*"))
    for path in (saved, saved_log):
        assert path.stat().st_mode & 0o077 == 0
    assert "sysrq triggered crash" in saved_log.read_text()
    assert not (saved.parent / "lost").exists(), (saved.parent / "lost").read_text()
    with crashed.mounted() as mount:
        run(["cmp", saved, mount / VIEW])
        for name in ("filter-report", "badpages"):
            run(["cmp", saved.parent / name, mount / name])
    said = crashed.console().split("reset_devices")[-1]
    assert "reboot: Restarting system" in said
    assert "falling back" not in said
    assert not re.search(r"Waiting for process.*\b(oldmemfs|python3?)\b", said)
    return saved


@pytest.fixture
def place(work: Path) -> Iterator[Path]:
    """One machine's folder."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def saved(work: Path, installed: Path) -> Path:
    """The first run: saved on the machine's own disk."""
    place = work / "local"
    place.mkdir()
    crashed = crashes.crash(place, installed, system.kdump_tools)
    return look(crashed, crashed.fetch("/var/crash"))


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
    release = run(["crash", "--osrelease", saved]).strip()
    assert release.endswith("-cloud-amd64")
    vmlinux = symbols.vmlinux(release)
    if not vmlinux.exists():
        pytest.skip(f"no {vmlinux}: python -m tests.vm.debian.symbols {release}")
    told = run(["crash", "--minimal", "-s", "-i", MINIMAL, vmlinux, saved])
    assert "Kernel panic - not syncing: sysrq triggered crash" in told  # log
    assert re.search(r"<panic>$", told, re.MULTILINE)  # dis
    assert f"Linux version {release} " in "".join(re.findall(r"   (.{1,16})$", told, re.MULTILINE))


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_for(port: int, daemon: subprocess.Popen[bytes], log: Path) -> None:
    """Until a daemon listens."""
    for _ in range(1200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            break
        assert daemon.poll() is None, log.read_text()
        time.sleep(0.1)


@contextlib.contextmanager
def sshd(folder: Path) -> Iterator[system.Remote]:
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
        wait_for(port, daemon, folder / "sshd.log")
        yield system.Remote(port, folder / "key", folder / "host.pub", folder / "received")
    finally:
        daemon.terminate()
        daemon.wait(120)


@contextlib.contextmanager
def nfs_server(folder: Path) -> Iterator[int]:
    """An NFS server of our own on the loopback, whose one export is ``folder``: its port."""
    port = _port()
    state = folder.with_name("nfs")
    state.mkdir()
    (state / "conf").write_text(
        f"NFS_CORE_PARAM {{ Protocols = 4; NFS_Port = {port}; Bind_addr = 127.0.0.1;"
        " Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = None; }\n"
        f'NFSv4 {{ Graceless = true; RecoveryRoot = "{state}"; }}\n'
        f'EXPORT {{ Export_Id = 1; Path = "{folder}"; Pseudo = /srv/crash; Access_Type = RW;'
        " Squash = None; SecType = sys; FSAL { Name = VFS; } }\n"
    )
    words = ["ganesha.nfsd", "-F", "-f", "conf", "-L", "log", "-p", "pid"]
    daemon = subprocess.Popen(words, cwd=state)
    try:
        wait_for(port, daemon, state / "log")
        told = (state / "log").read_text()
        assert "No export entries" not in told, told
        yield port
    finally:
        daemon.kill()
        daemon.wait(120)


def test_it_is_saved_over_nfs(place: Path, installed: Path) -> None:
    if not shutil.which("ganesha.nfsd"):
        pytest.skip("no ganesha.nfsd here (Debian packages nfs-ganesha, nfs-ganesha-vfs)")
    if not Path("/etc/mtab").exists():
        pytest.skip("no /etc/mtab here, from which ganesha.nfsd knows what it may export")
    lines = [line for line in commands() if "nfs" in line]
    assert len(lines) == 2
    export = place / "export"
    export.mkdir()
    with nfs_server(export) as port:
        set_up = functools.partial(system.over_nfs, recipe="\n".join(lines))
        crashed = crashes.crash(place, installed, set_up, devices=system.network(2049, port))
    (saved,) = export.iterdir()
    assert saved.name == VIEW
    assert saved.stat().st_mode & 0o077 == 0
    with crashed.mounted() as mount:
        run(["cmp", saved, mount / VIEW])


def test_it_is_sent_over_ssh(place: Path, installed: Path) -> None:
    if not (shutil.which("sshd") or Path("/usr/sbin/sshd").exists()):
        pytest.skip("no sshd here (Debian package openssh-server)")
    with sshd(place) as remote:
        set_up = functools.partial(system.over_ssh, remote=remote)
        look(
            crashes.crash(place, installed, set_up, devices=system.network(22, remote.port)),
            remote.folder,
        )


def test_a_script_in_an_initramfs_saves_it(place: Path, installed: Path) -> None:
    crashed = crashes.crash(place, installed, system.initramfs_tools)
    dump = look(crashed, crashed.fetch("/var/crash"), dump=VIEW, log="dmesg")
    assert "sysrq triggered crash" in (dump.parent / "summary").read_text()


def test_it_is_saved_in_an_initramfs_of_dracut(place: Path, installed: Path) -> None:
    crashed = crashes.crash(place, installed, functools.partial(system.dracut, saves=True))
    look(crashed, crashed.fetch("/var/crash"), dump="vmcore", log="dmesg")


def test_it_survives_switch_root(place: Path, installed: Path) -> None:
    crashed = crashes.crash(place, installed, functools.partial(system.dracut, saves=False))
    folder = crashed.fetch("/var/crash")
    look(crashed, folder)
    unit = (folder / "look/unit").read_text().splitlines()
    assert {"ActiveState=active", "SubState=running"} <= set(unit)
    with crashed.mounted() as mount:
        for name in ("dmesg", "filter-report"):
            assert (folder / "look" / name).read_bytes() == (mount / name).read_bytes()
