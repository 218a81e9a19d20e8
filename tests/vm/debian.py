"""A stock Debian in an emulated machine: installed by debootstrap, set up as the README says.

The system is made once and kept in the cache. Each crash gets a fresh disk with the wheel of the
oldmemfs under test, whose own examples set up kdump-tools.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from .kernels import cache_folder
from .machine import Machine
from .tools import HostError, need, run

SUITE = "bookworm"
PACKAGES = (
    "dbus", "fuse3", "iproute2", "kdump-tools", "kexec-tools", "kmod", "linux-image-cloud-amd64",
    "makedumpfile", "openssh-client", "python3", "python3-venv", "systemd-sysv", "udev",
)  # fmt: skip
PROGRAMS = {"debootstrap": "debootstrap", "mke2fs": "e2fsprogs", "debugfs": "e2fsprogs"}
MIRROR = "http://deb.debian.org/debian"
_DISK_MIB = 2048
_ROOT = Path(__file__).parents[2]
_TARGET = "opt/oldmemfs"

# What the test adds to the system: it panics once, when kdump is armed.
_CRASH = """[Unit]
Description=Panic, for a test
After=kdump-tools.service
ConditionPathExists=!/proc/vmcore
[Service]
Type=oneshot
ExecStart=/bin/sh -c '[ "$(cat /sys/kernel/kexec_crash_loaded)" = 1 ] && \
  sync && echo 1 >/proc/sys/kernel/sysrq && echo c >/proc/sysrq-trigger; poweroff -f'
[Install]
WantedBy=multi-user.target
"""
_NETWORK = "[Match]\nType=ether\n[Network]\nAddress=10.0.2.15/24\n"


@dataclass(frozen=True, slots=True)
class Remote:
    """Where the dump is to be sent, as the machine sees it: through one forwarded port."""

    port: int  # of an sshd on the host's loopback
    key: Path  # that it lets in
    host_key: Path  # its own, the public part
    folder: Path  # where kdump-tools makes its folders there


def lacking() -> list[str]:
    """What this host lacks, as `program (package)`."""
    missing = [f"{p} ({package})" for p, package in PROGRAMS.items() if not shutil.which(p)]
    return missing + ([] if os.getuid() == 0 else ["root"])


def system() -> Path:
    """The installed system, from the cache or from the Debian archive."""
    base = cache_folder() / f"debian-{SUITE}"
    if not base.is_dir():
        work = base.with_name(f"{base.name}-{os.getpid()}")
        include = "--include=" + ",".join(PACKAGES)
        try:
            run([need("debootstrap"), "--variant=minbase", include, SUITE, work, MIRROR])
            shutil.rmtree(work / "var/cache/apt")
            shutil.rmtree(work / "var/lib/apt/lists")
            work.rename(base)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return base


def _wheels(folder: Path) -> Path:
    """The wheels of oldmemfs and of all that it needs."""
    run([sys.executable, "-m", "pip", "-q", "wheel", "-w", folder, _ROOT])
    return folder


def _chroot(root: Path, *words: str) -> None:
    run(["chroot", root, "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin", *words])


def prepare(work: Path, *, view: str, remote: Remote | None) -> Path:
    """The system on a disk: what the README tells the user to do, and what the test needs."""
    root = work / "root"
    run(["cp", "-a", "--reflink=auto", system(), root])
    _wheels(root / "wheels")
    _chroot(root, "python3", "-m", "venv", f"/{_TARGET}")
    _chroot(root, f"/{_TARGET}/bin/pip", "-q", "install", "--no-index", "-f", "/wheels", "oldmemfs")
    (root / "usr/local/bin/oldmemfs").symlink_to(f"/{_TARGET}/bin/oldmemfs")
    _chroot(root, f"/{_TARGET}/share/oldmemfs/debian/setup.sh", view)

    shutil.rmtree(root / "wheels")
    (root / "etc/systemd/system/crash.service").write_text(_CRASH)
    _chroot(root, "systemctl", "-q", "enable", "crash.service")
    (root / "etc/hostname").write_text("crashes\n")
    (root / "etc/fstab").write_text("/dev/vda / ext4 defaults 0 1\n")
    # kdump-tools would make its own at the first boot, which takes minutes in emulation.
    (initrd,) = (root / "boot").glob("initrd.img-*")
    ready = root / "var/lib/kdump"
    ready.mkdir(exist_ok=True)
    shutil.copyfile(initrd, ready / initrd.name)
    sysctls = "latest_sysctls-" + initrd.name.removeprefix("initrd.img-")
    shutil.copyfile(root / "etc/kdump/sysctl.conf", ready / sysctls)
    if remote:
        _send(root, remote)
    disk = work / "disk.img"
    run([need("mke2fs"), "-q", "-t", "ext4", "-d", root, disk, f"{_DISK_MIB}M"])
    return disk


def _send(root: Path, remote: Remote) -> None:
    with (root / "etc/default/kdump-tools").open("a") as config:
        config.write(f'SSH="root@10.0.2.100"\nKDUMP_COREDIR="{remote.folder}"\n')
    keys = root / "root/.ssh"
    keys.mkdir(mode=0o700, exist_ok=True)
    shutil.copyfile(remote.key, keys / "kdump_id_rsa")
    (keys / "kdump_id_rsa").chmod(0o600)
    (keys / "known_hosts").write_text(f"10.0.2.100 {remote.host_key.read_text()}")
    (root / "etc/systemd/network").mkdir(parents=True, exist_ok=True)
    (root / "etc/systemd/network/all.network").write_text(_NETWORK)
    _chroot(root, "systemctl", "-q", "enable", "systemd-networkd.service")


@dataclass(frozen=True, slots=True)
class Crashed:
    """What is left: the disk, the machine's memory and its console."""

    machine: Machine
    disk: Path

    def console(self) -> str:
        """All that the two kernels said."""
        return self.machine.console.read_text(errors="replace")

    def header(self) -> str:
        """Where kexec put the ELF header, as the capture kernel was told."""
        found = re.findall(r"Command line:.* elfcorehdr=(\w+)", self.console())
        if not found:
            raise HostError(f"no capture kernel was started; console:\n{self.machine.tail()}")
        return str(found[-1])

    def fetch(self, inside: str, target: Path) -> None:
        """A folder of the machine's disk."""
        target.mkdir(exist_ok=True)
        run([need("debugfs"), "-R", f"rdump {inside} {target}", self.disk])


def crash(
    work: Path, *, view: str = "vmcore-kern", remote: Remote | None = None, memory_mib: int = 768
) -> Crashed:
    """Install, boot, panic, let Debian save its dump and reboot, which ends the machine."""
    disk = prepare(work, view=view, remote=remote)
    root = work / "root"
    devices = ["-drive", f"file={disk},if=virtio,format=raw,cache=unsafe"]
    if remote:
        # A program for each connection; a "tcp:" target would be connected to once, at the start.
        relay = f"{need('busybox')} nc 127.0.0.1 {remote.port}"
        forward = f"guestfwd=tcp:10.0.2.100:22-cmd:{relay}"
        devices += ["-netdev", f"user,id=net,restrict=on,{forward}"]
        devices += ["-device", "virtio-net-pci,netdev=net,romfile="]
    machine = Machine(work, memory_mib, 2, "max", tuple(devices))
    (kernel,) = (root / "boot").glob("vmlinuz-*")
    (initrd,) = (root / "boot").glob("initrd.img-*")
    for path in (kernel, initrd):
        shutil.copyfile(path, work / path.name)
    shutil.rmtree(root)
    command = "root=/dev/vda rw console=ttyS0 crashkernel=256M"
    machine.run(work / kernel.name, work / initrd.name, command, timeout=900)
    return Crashed(machine, disk)
