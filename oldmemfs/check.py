"""``--check``: what this machine has, what it lacks, and how to mend it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .errors import OldmemError, SourceError
from .files import open_read, read_text
from .sources import liveheader, open_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .options import Options

_LOCKDOWN = "/sys/kernel/security/lockdown"


def _opens(path: str, advice: str) -> tuple[bool, str]:
    try:
        os.close(open_read(path))
    except SourceError as error:
        return False, f"{error}; {advice}"
    return True, f"{path} opens"


def _lockdown() -> tuple[bool, str]:
    text = read_text(_LOCKDOWN)
    if text is None or "[none]" in text:
        return True, "the kernel is not locked down"
    return False, (
        f"{_LOCKDOWN} says {text.strip()}: /dev/mem stays shut; everything is read from "
        "/proc/vmcore, slower"
    )


def _header() -> tuple[bool, str]:
    address, origin = liveheader.address()
    if address is None:
        return False, f"{origin}: this is no capture kernel; name a memory image or a core"
    return True, f"the crash's ELF header is at {address:#x}, says {origin}"


def _source(options: Options) -> tuple[bool, str]:
    try:
        dump = open_source(None, options)
    except OldmemError as error:
        return False, f"no old memory can be read here: {error}"
    return True, f"old memory can be read: {dump.source}; header: {dump.origin}"


def _findings(options: Options) -> Iterator[tuple[bool, str]]:
    yield _opens("/dev/fuse", "run modprobe fuse; a capture kernel needs fuse.ko in its initramfs")
    yield _opens("/dev/mem", "be root; if it is missing, mount devtmpfs on /dev")
    yield _opens("/proc/vmcore", "it is there only after a crash, in the capture kernel")
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
