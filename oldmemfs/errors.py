# SPDX-License-Identifier: MIT
"""The exceptions. Each one also derives from the builtin exception that is most like it, if any.

A message is one line that starts in lower case; it names the file and the offset in hex, and says
what to do next. Only ``cli`` and ``commands`` print messages and exit.
"""

from __future__ import annotations

import errno
import os


class OldmemError(Exception):
    """The base class: an error that the user gets as one line, without a traceback."""


class UsageError(OldmemError, ValueError):
    """A usage error: an option or argument that is wrong or missing. Exit status 2."""


class SourceError(OldmemError, OSError):
    """A source of old memory cannot be opened, or the file system cannot be mounted."""


class FormatError(OldmemError, ValueError):
    """Data that is malformed or inconsistent; ``offset`` is its offset or address, if known."""

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message if offset is None else f"{message} (at {offset:#x})")
        self.offset = offset


class ShortageError(OldmemError):
    """Out of memory, descriptors or threads. The same may work when it is tried again."""


class FaultError(OldmemError, OSError):
    """Old memory that cannot be read: ``size`` bytes from physical address ``phys`` on."""

    def __init__(self, phys: int, size: int) -> None:
        super().__init__(errno.EFAULT, f"old memory {phys:#x}..{phys + size:#x} cannot be read")
        self.phys = phys
        self.size = size

    def __str__(self) -> str:
        return str(self.strerror)


_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS)


def shortage(error: BaseException) -> ShortageError | None:
    """The ``ShortageError`` for ``error`` if it was raised for lack of a resource, else None.

    Also looks at the exception that caused it (``__cause__``), and into exception groups, in which
    trio raises several errors at once.
    """
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(shortage, error.exceptions)), None)
    if isinstance(error, ShortageError):
        return error
    if isinstance(error, MemoryError):
        return ShortageError("not enough memory is left; free some, or raise ulimit -v")
    if isinstance(error, OSError) and error.errno in _SHORT:
        advice = "; raise ulimit -n" if error.errno == errno.EMFILE else ""
        return ShortageError(os.strerror(error.errno).lower() + advice)
    if isinstance(error, RuntimeError) and "start new thread" in str(
        error
    ):  # the text of threading
        return ShortageError("no room for one more thread; free memory, or raise ulimit -u")
    return shortage(error.__cause__) if error.__cause__ else None
