"""``--check``: what this machine has, what it lacks, and how to mend it."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from .errors import OldmemError, SourceError
from .files import open_read, read_text
from .sources import liveheader, open_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .options import Options

_VMCORE = "/proc/vmcore"
_KEXEC = "/sys/kernel/kexec_crash"
_LOCKDOWN = "/sys/kernel/security/lockdown"


def _opens(path: str, absent: str) -> tuple[bool, str]:
    try:
        os.close(open_read(path))
    except SourceError as error:
        there = os.path.exists(path)
        return False, f"{error}; {'run this as root: sudo oldmemfs --check' if there else absent}"
    return True, f"{path} opens"


def _helper() -> tuple[bool, str]:
    """Who is not root mounts with libfuse's helper."""
    found = shutil.which("fusermount3")
    if found or os.getuid() == 0:
        return True, f"{found or 'root'} can mount"
    return False, "no fusermount3, which mounts for ordinary users: apt install fuse3"


def _capture() -> Iterator[tuple[bool, str]]:
    """What the next crash needs; nothing once it has happened."""
    if os.path.exists(_VMCORE):
        return
    size = (read_text(f"{_KEXEC}_size") or "0").strip()
    loaded = (read_text(f"{_KEXEC}_loaded") or "0").strip() == "1"
    if size == "0":
        yield (
            False,
            (
                "no memory is set aside for a capture kernel: add crashkernel=192M to "
                "GRUB_CMDLINE_LINUX in /etc/default/grub, run update-grub, reboot"
            ),
        )
    else:
        yield True, f"{int(size) >> 20} MiB are set aside for a capture kernel"
    if loaded:
        yield True, "a capture kernel is loaded"
    else:
        yield False, "no capture kernel is loaded: run kdump-config load, or systemctl start kdump"


def _lockdown() -> tuple[bool, str]:
    text = read_text(_LOCKDOWN)
    if text is None or "[none]" in text:
        return True, "the kernel is not locked down"
    return False, (
        f"{_LOCKDOWN} says {text.strip()}: /dev/mem stays shut; everything is read from "
        "/proc/vmcore, slower; without Secure Boot, lockdown=none on the command line opens it"
    )


def _header() -> tuple[bool, str]:
    address, origin = liveheader.address()
    if address is None:
        return False, f"{origin}: this is no capture kernel; run oldmemfs IMAGE MOUNTPOINT"
    return True, f"the crash's ELF header is at {address:#x}, says {origin}"


def _source(options: Options) -> tuple[bool, str]:
    try:
        dump = open_source(None, options)
    except OldmemError as error:
        return False, f"no old memory can be read here: {error}"
    return True, f"old memory can be read: {dump.source}; header: {dump.origin}"


def _findings(options: Options) -> Iterator[tuple[bool, str]]:
    yield _opens("/dev/fuse", "run modprobe fuse; into an initramfs, payload.py --kernel puts it")
    yield _helper()
    yield _opens("/dev/mem", "run mount -t devtmpfs devtmpfs /dev, or mknod /dev/mem c 1 1")
    yield _opens(_VMCORE, "it is there only after a crash, in the capture kernel")
    yield from _capture()
    yield _lockdown()
    yield _header()
    yield _source(options)


def report(options: Options) -> int:
    """Print a line for each finding; 0 when this machine's old memory can be mounted."""
    fine = []
    for good, text in _findings(options):
        fine.append(good)
        print(f"{'ok  ' if good else 'no  '} {text}")
    return 0 if fine[0] and fine[-1] else 1
