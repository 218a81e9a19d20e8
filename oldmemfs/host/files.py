# SPDX-License-Identifier: MIT
"""Opening and reading the files that a dump is made from."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from ..errors import FormatError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def open_read(path: str) -> int:
    """A descriptor for reading, close-on-exec. Raises ``SourceError`` that names the file."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error


@contextlib.contextmanager
def kept_open(path: str) -> Iterator[int]:
    """A descriptor for reading. It is closed only if the block raises; else it stays open.

    Raises ``SourceError`` that names the file if it cannot be opened.
    """
    fd = open_read(path)
    try:
        yield fd
    except BaseException:
        os.close(fd)
        raise


def image_size(path: str, fd: int) -> int:
    """The size in bytes of a regular file or block device, found by seeking to its end.

    Raises ``SourceError`` for another kind of file, and for an empty one.
    """
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
        raise SourceError(f"{path}: not a regular file or block device")
    size = os.lseek(fd, 0, os.SEEK_END)
    if size == 0:
        raise SourceError(f"{path}: empty")
    return size


def reader(path: str, fd: int) -> Callable[[int, int], bytes]:
    """A function ``read(offset, size)`` that returns exactly ``size`` bytes of ``fd``.

    It raises ``FormatError`` with the offset if the read fails or is short.
    """

    def read(offset: int, size: int) -> bytes:
        try:
            data = os.pread(fd, size, offset)
        except (OSError, OverflowError) as error:
            raise FormatError(f"{path}: cannot read {size:#x} bytes: {error}", offset) from error
        if len(data) < size:
            raise FormatError(f"{path}: short read: {len(data):#x} of {size:#x} bytes", offset)
        return data

    return read


def read_text(path: str) -> str | None:
    """The text of a small file (procfs, sysfs, /etc), or None if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None


def read_bytes(path: str) -> bytes | None:
    """The bytes of a small file (procfs, sysfs, /etc), or None if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None
