# SPDX-License-Identifier: MIT
"""A stock Debian in an emulated machine: installed by debootstrap, set up as the README says.

The system is made once and kept in the cache; the oldmemfs under test is installed into a copy of
it. Each crash gets a fresh disk, set up in one of these ways, with what oldmemfs brings for it:

kdump_tools        Debian's own scripts save the dump, from a unit of ours in the real root
over_ssh           the same, to another machine
over_nfs           the same, after the recipe that saves it over NFS
initramfs_tools    our script in an initramfs of initramfs-tools saves it
dracut             our unit serves it in an initramfs of dracut: to a script there, or to Debian's
                   own in the real root, after switch-root
"""

from __future__ import annotations

import os
import shutil
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

from ..apt import cache_folder
from ..cache import filling
from ..tools import need, run

SUITE = "bookworm"
PACKAGES = (
    "dbus", "dracut-core", "fuse3", "iproute2", "kdump-tools", "kexec-tools", "kmod",
    "linux-image-cloud-amd64", "makedumpfile", "nfs-common", "openssh-client", "python3",
    "python3-venv", "systemd-sysv", "udev",
)  # fmt: skip
PROGRAMS = {"debootstrap": "debootstrap", "mke2fs": "e2fsprogs", "debugfs": "e2fsprogs"}
MIRROR = "http://deb.debian.org/debian"
_ROOT = Path(__file__).parents[3]
_TARGET = "opt/oldmemfs"
_EXAMPLES = f"{_TARGET}/share/oldmemfs"

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
# What Fedora's kdump has in its initramfs, as far as it matters here: the order of its unit, and
# what its script does with the core_collector of examples/kdump.conf.
_CAPTURE_UNIT = """[Unit]
Description=Save /proc/vmcore, for a test
After=initrd.target sysroot.mount dracut-pre-pivot.service
Before=initrd-cleanup.service
[Service]
Type=oneshot
ExecStart=/bin/kdump-save
StandardOutput=journal+console
"""
_CAPTURE = """#!/bin/sh
umask 077
folder=/sysroot/var/crash/$(date +%Y%m%d%H%M)
mount -o remount,rw /sysroot
mkdir -p "$folder"
vmcore-dmesg /proc/vmcore >"$folder/dmesg"
/usr/lib/dracut/modules.d/99oldmemfs/save-vmcore.sh /proc/vmcore "$folder/vmcore-incomplete" &&
    mv "$folder/vmcore-incomplete" "$folder/vmcore"
sync
systemctl reboot -f
"""
# Before Debian's script saves the dump in the real root: is the mount of the initramfs still alive?
_LOOK = """mkdir /var/crash/look
cd /var/crash/look
systemctl show oldmemfs >unit
cp /run/oldmemfs/dmesg /run/oldmemfs/filter-report .
"""
_RECIPE = """umask 077
MNT=/run/oldmemfs
until ip route | grep 10.0.2; do sleep 1; done
{recipe}
umount /mnt/nfs
"""
_BACKUP = "10.0.2.100"
_NETWORK = "[Match]\nType=ether\n[Network]\nAddress=10.0.2.15/24\n"


@dataclass(frozen=True, slots=True)
class Remote:
    """Where the dump is to be sent, as the machine sees it: through one forwarded port."""

    port: int  # of an sshd on the host's loopback
    key: Path  # that it lets in
    host_key: Path  # its own, the public part
    folder: Path  # where kdump-tools makes its folders there


def network(guest_port: int, port: int) -> tuple[str, ...]:
    """A machine's network: one port of one address, which is a port on the host's loopback."""
    # A program for each connection; a "tcp:" target would be connected to once, at the start.
    relay = f"{need('busybox')} nc 127.0.0.1 {port}"
    forward = f"guestfwd=tcp:{_BACKUP}:{guest_port}-cmd:{relay}"
    device = ("-device", "virtio-net-pci,netdev=net,romfile=")
    return ("-netdev", f"user,id=net,restrict=on,{forward}", *device)


def lacking() -> list[str]:
    """What this host lacks, as `program (package)`."""
    missing = [f"{p} ({package})" for p, package in PROGRAMS.items() if not shutil.which(p)]
    return missing + ([] if os.getuid() == 0 else ["root"])


def system() -> Path:
    """The installed system, from the cache or from the Debian archive."""
    packages = ",".join(PACKAGES)
    base = cache_folder() / f"debian-{SUITE}-{zlib.crc32(packages.encode()):08x}"
    with filling("debian"):
        if not base.is_dir():
            work = base.with_name(f"{base.name}-{os.getpid()}")
            include = f"--include={packages}"
            try:
                run([need("debootstrap"), "--variant=minbase", include, SUITE, work, MIRROR])
                shutil.rmtree(work / "var/cache/apt")
                shutil.rmtree(work / "var/lib/apt/lists")
                work.rename(base)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    return base


def copy_tree(source: Path, target: Path) -> None:
    run(["cp", "-a", "--reflink=auto", source, target])


def _chroot(root: Path, *words: str) -> None:
    run(["chroot", root, "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin", *words])


def install(root: Path) -> None:
    """The system with oldmemfs, as the README says, and with what makes it panic."""
    copy_tree(system(), root)
    run([sys.executable, "-m", "pip", "-q", "wheel", "-w", root / "wheels", _ROOT])
    _chroot(root, "python3", "-m", "venv", f"/{_TARGET}")
    _chroot(root, f"/{_TARGET}/bin/pip", "-q", "install", "--no-index", "-f", "/wheels", "oldmemfs")
    shutil.rmtree(root / "wheels")
    (root / "usr/local/bin/oldmemfs").symlink_to(f"/{_TARGET}/bin/oldmemfs")
    (root / "etc/systemd/system/crash.service").write_text(_CRASH)
    _chroot(root, "systemctl", "-q", "enable", "crash.service")
    (root / "etc/hostname").write_text("crashes\n")
    (root / "etc/fstab").write_text("/dev/vda / ext4 defaults 0 1\n")
    # kdump-tools would make its own at the first boot, which takes minutes in emulation.
    initrd = _capture_initrd(root)
    initrd.parent.mkdir(exist_ok=True)
    shutil.copyfile(root / "boot" / initrd.name, initrd)
    sysctls = f"latest_sysctls-{kernel_release(root)}"
    shutil.copyfile(root / "etc/kdump/sysctl.conf", initrd.with_name(sysctls))


def kernel_release(root: Path) -> str:
    (kernel,) = (root / "boot").glob("vmlinuz-*")
    return kernel.name.removeprefix("vmlinuz-")


def _capture_initrd(root: Path) -> Path:
    return root / "var/lib/kdump" / f"initrd.img-{kernel_release(root)}"


def _configure(root: Path, text: str) -> None:
    with (root / "etc/default/kdump-tools").open("a") as config:
        config.write(text)


def kdump_tools(root: Path) -> None:
    """What the README says for Debian."""
    _chroot(root, f"/{_EXAMPLES}/debian/setup.sh")


def over_ssh(root: Path, remote: Remote) -> None:
    """The same, and the dump is sent."""
    kdump_tools(root)
    _configure(root, f'SSH="root@{_BACKUP}"\nKDUMP_COREDIR="{remote.folder}"\n')
    keys = root / "root/.ssh"
    keys.mkdir(mode=0o700, exist_ok=True)
    shutil.copyfile(remote.key, keys / "kdump_id_rsa")
    (keys / "kdump_id_rsa").chmod(0o600)
    (keys / "known_hosts").write_text(f"{_BACKUP} {remote.host_key.read_text()}")
    _networkd(root)


def over_nfs(root: Path, recipe: str) -> None:
    """The same on its disk, after a recipe of examples/save.md."""
    kdump_tools(root)
    _networkd(root)
    with (root / "etc/hosts").open("a") as hosts:
        hosts.write(f"{_BACKUP} backup\n")
    (root / "mnt/nfs").mkdir()
    (root / "recipe").write_text(_RECIPE.format(recipe=recipe))
    _before(root, "kdump-tools-dump.service", "timeout 900 /bin/sh -ex /recipe")


def _networkd(root: Path) -> None:
    (root / "etc/systemd/network").mkdir(parents=True, exist_ok=True)
    (root / "etc/systemd/network/all.network").write_text(_NETWORK)
    _chroot(root, "systemctl", "-q", "enable", "systemd-networkd.service")


def _before(root: Path, unit: str, command: str) -> None:
    """Run a command in the capture kernel before a unit."""
    drop_in = root / "etc/systemd/system" / f"{unit}.d/before.conf"
    drop_in.parent.mkdir()
    text = f"[Service]\nExecStartPre=-/bin/sh -c '[ ! -e /proc/vmcore ] || {command}'\n"
    drop_in.write_text(text)


def initramfs_tools(root: Path) -> None:
    """The hook and the script, and an initramfs made with them."""
    _chroot(root, "cp", "-r", f"/{_EXAMPLES}/initramfs-tools", "/etc")
    initrd = _capture_initrd(root)
    _chroot(root, "mkinitramfs", "-o", f"/{initrd.relative_to(root)}", kernel_release(root))
    _configure(root, 'KDUMP_CMDLINE_APPEND="reset_devices nr_cpus=1 oldmemfs.save"\n')


def dracut(root: Path, *, saves: bool) -> None:
    """An initramfs with the dracut module: saves the dump itself, or leaves it to kdump-tools."""
    _chroot(root, "cp", "-r", f"/{_EXAMPLES}/dracut/99oldmemfs", "/usr/lib/dracut/modules.d")
    more: tuple[str, ...] = ()
    if saves:
        units = root / "standin/usr/lib/systemd/system"
        (units / "initrd.target.wants").mkdir(parents=True)
        (units / "kdump-capture.service").write_text(_CAPTURE_UNIT)
        (units / "initrd.target.wants/kdump-capture.service").symlink_to("../kdump-capture.service")
        script = root / "standin/usr/bin/kdump-save"
        script.parent.mkdir()
        script.write_text(_CAPTURE)
        script.chmod(0o755)
        more = ("--install", "date sync vmcore-dmesg", "--include", "/standin", "/")
    else:
        _configure(root, (root / _EXAMPLES / "debian/kdump-tools").read_text())
        # Debian boots one service only, which cannot be isolated; a target stops what it can.
        _configure(root, 'KDUMP_CMDLINE_APPEND="reset_devices nr_cpus=1"\n')
        (root / "look").write_text(_LOOK)
        _before(root, "kdump-tools.service", "timeout 900 /bin/sh /look")
    initrd = _capture_initrd(root)
    _chroot(
        root, "IN_KDUMP=1", "dracut", "-q", "-f", "--no-hostonly", "--no-early-microcode",
        "-m", "base systemd systemd-initrd dracut-systemd udev-rules rootfs-block oldmemfs",
        "--add-drivers", "ext4 virtio_blk virtio_pci", *more,
        "--kver", kernel_release(root), f"/{initrd.relative_to(root)}",
    )  # fmt: skip
