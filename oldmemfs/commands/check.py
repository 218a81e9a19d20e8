# SPDX-License-Identifier: MIT
"""``--check``: what this machine has, what it lacks, and how to fix that.

It answers two questions. Can images and saved cores be mounted here? And: in a capture kernel, can
the dead kernel's memory be mounted; on any other machine, would a crash start a capture kernel?

Each finding is ``(good, text)``; the text of a bad one says what to do.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from ..errors import OldmemError, SourceError
from ..host.files import open_read, read_text
from ..sources import liveheader, open_source
from .output import put, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..options import Options

_VMCORE = "/proc/vmcore"
_KEXEC = "/sys/kernel/kexec_crash"
_LOCKDOWN = "/sys/kernel/security/lockdown"


def _opens(path: str, absent: str) -> tuple[bool, str]:
    try:
        os.close(open_read(path))
    except SourceError as error:
        there = os.path.exists(path)
        return False, f"{error}; {'run this as root: sudo oldmemfs --check' if there else absent}"
    return True, f"{path} can be opened"


def _helper() -> tuple[bool, str]:
    """Without root, libfuse mounts through the set-user-id program fusermount3."""
    found = shutil.which("fusermount3")
    if found or os.getuid() == 0:
        return True, f"{found or 'root'} can mount"
    return False, "no fusermount3, which mounts for ordinary users: apt install fuse3"


def _next_crash() -> Iterator[tuple[bool, str]]:
    """What this machine needs so that a crash starts a capture kernel."""
    size = int((read_text(f"{_KEXEC}_size") or "0").strip())
    if size:
        yield True, f"{size >> 20} MiB are set aside for a capture kernel"
    else:
        yield (
            False,
            (
                "no memory is set aside for a capture kernel: add crashkernel=192M to "
                "GRUB_CMDLINE_LINUX in /etc/default/grub, run update-grub, reboot"
            ),
        )
    if (read_text(f"{_KEXEC}_loaded") or "0").strip() == "1":
        yield True, "a capture kernel is loaded"
    else:
        yield False, "no capture kernel is loaded: run kdump-config load, or systemctl start kdump"


def _lockdown() -> tuple[bool, str]:
    text = read_text(_LOCKDOWN)
    if text is None or "[none]" in text:
        return True, "the kernel is not locked down"
    return False, (
        f"{_LOCKDOWN} says {text.strip()}: /dev/mem cannot be read, and everything is read "
        "from /proc/vmcore, which is slower; without Secure Boot, lockdown=none on the kernel "
        "command line allows /dev/mem"
    )


def _header() -> tuple[bool, str]:
    address, origin = liveheader.address()
    if address is None:
        return False, f"{origin}; everything is read from /proc/vmcore then"
    return True, f"the crash's ELF header is at {address:#x}, according to {origin}"


def _source(options: Options) -> tuple[bool, str]:
    try:
        dump = open_source(None, options)
    except OldmemError as error:
        return False, f"no old memory can be read here: {error}"
    return True, f"old memory can be read: {dump.source}; header: {dump.origin}"


def _mounting() -> Iterator[tuple[bool, str]]:
    yield _opens(
        "/dev/fuse", "run modprobe fuse; in an initramfs, add fuse.ko: oldmemfs --payload --kernel"
    )
    yield _helper()


def _old_memory(options: Options) -> Iterator[tuple[bool, str]]:
    yield _opens("/dev/mem", "run mount -t devtmpfs devtmpfs /dev, or mknod /dev/mem c 1 1")
    yield _opens(_VMCORE, "mount -t proc proc /proc, if that is missing")
    yield _lockdown()
    yield _header()
    yield _source(options)


def _show(findings: Iterable[tuple[bool, str]]) -> list[bool]:
    fine = []
    for good, text in findings:
        fine.append(good)
        put(f"{'ok  ' if good else 'no  '} {visible(text)}\n")
    return fine


def _verdict(good: bool, yes: str, no: str) -> None:
    put(f"==>  {yes if good else no}\n")


def report(options: Options) -> int:
    """Print a line for each finding and one for each answer; returns the exit status.

    It is 0 if, in a capture kernel, the dead kernel's memory can be mounted, and on any other
    machine, images and saved cores.
    """
    images = all(_show(_mounting()))
    _verdict(
        images,
        "images and saved cores can be mounted here: oldmemfs IMAGE MOUNTPOINT",
        "images and saved cores cannot be mounted here",
    )
    address, origin = liveheader.address()
    if address is None and not os.path.exists(_VMCORE):
        put(f"--   this is no capture kernel, so there is no old memory here: {origin}\n")
        ready = all(_show(_next_crash()))
        _verdict(
            ready,
            "a crash of this machine would start a capture kernel",
            "a crash of this machine would start no capture kernel; fix what is marked no above",
        )
        return int(not images)
    readable = _show(_old_memory(options))[-1]
    _verdict(
        images and readable,
        "the dead kernel's memory can be mounted here: oldmemfs MOUNTPOINT",
        "the dead kernel's memory cannot be mounted here; fix what is marked no above",
    )
    return int(not (images and readable))
