"""Opening and reading the files that a dump is made from."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import sys
from typing import TYPE_CHECKING

from .errors import FormatError, SourceError
from .memory import Access
from .table import Windows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_GIB = 1 << 30


def open_read(path: str) -> int:
    """A descriptor for reading. Raises ``SourceError`` that names the file."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error


@contextlib.contextmanager
def kept_open(path: str) -> Iterator[int]:
    """A descriptor for reading, that stays open unless an error is raised."""
    fd = open_read(path)
    try:
        yield fd
    except BaseException:
        os.close(fd)
        raise


def image_size(path: str, fd: int) -> int:
    """The size of a regular file or block device. Raises ``SourceError`` for anything else."""
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
        raise SourceError(f"{path}: not a regular file or block device")
    size = os.lseek(fd, 0, os.SEEK_END)
    if size == 0:
        raise SourceError(f"{path}: empty")
    return size


def image_access(fd: int) -> tuple[Access, Windows | None]:
    """How to get at the bytes of a memory image, and the windows that this takes.

    What lies in memory anyway (tmpfs) is mapped, a GiB at a time: that spends a third less than
    copying it out with pread. Not if it has holes, because looking at one through a mapping makes
    tmpfs fill it; and not a file on a disk, whose read-ahead works for pread.
    """
    file = os.fstat(fd)
    device = f"{os.major(file.st_dev)}:{os.minor(file.st_dev)}"
    lines = [line.split() for line in (read_text("/proc/self/mountinfo") or "").splitlines()]
    on_tmpfs = any(x[2] == device and x[x.index("-") + 1] == "tmpfs" for x in lines)
    whole = file.st_blocks * 512 >= file.st_size
    if on_tmpfs and whole and sys.maxsize > _GIB * 16:
        return Access.WINDOW, Windows(_GIB, 16, words=False, least=_GIB)
    return Access.PREAD, None


def reader(path: str, fd: int) -> Callable[[int, int], bytes]:
    """``read(offset, size)`` of exactly that many bytes. Raises ``FormatError`` at the end."""

    def read(offset: int, size: int) -> bytes:
        try:
            data = os.pread(fd, size, offset)
        except (OSError, OverflowError) as error:
            raise FormatError(f"{path}: cannot read {size:#x} bytes: {error}", offset) from error
        if len(data) < size:
            raise FormatError(f"{path}: ends where {size:#x} bytes should be", offset)
        return data

    return read


def read_text(path: str) -> str | None:
    """A small text file of the kernel's, or None when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None


def read_bytes(path: str) -> bytes | None:
    """A small file of the kernel's, or None when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def mounts_at(path: str) -> list[list[str]]:
    """The mounts on a path, as fields of mountinfo, the topmost last; asks no file system."""
    name = os.fsencode(path)
    lines = (line.split() for line in (read_bytes("/proc/self/mountinfo") or b"").splitlines())
    return [
        [field.decode(errors="replace") for field in fields]
        for fields in lines
        if _plain(fields[4]) == name
    ]


def _plain(field: bytes) -> bytes:
    """A path without mountinfo's escapes: octal for space, tab, newline and backslash."""
    return re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), field)
