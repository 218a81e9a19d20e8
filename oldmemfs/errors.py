"""The errors: one root, five children, each also the builtin that it resembles, where there is one.

Messages start in lower case, name the file and the offset in hex, and say what to do next.
Below ``cli`` nobody prints or exits.
"""

from __future__ import annotations

import errno
import os


class OldmemError(Exception):
    """Anything that oldmemfs reports to its user in one line."""


class UsageError(OldmemError, ValueError):
    """An option or argument that cannot be meant."""


class SourceError(OldmemError, OSError):
    """A source of old memory that cannot be opened; carries every source's reason."""


class FormatError(OldmemError, ValueError):
    """Bytes that are not what they claim to be; ``offset`` says where they stand."""

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message if offset is None else f"{message} (at {offset:#x})")
        self.offset = offset


class ShortageError(OldmemError):
    """Memory, descriptors or threads are short just now: the same may work when tried again."""


class FaultError(OldmemError, OSError):
    """Old memory that nothing can read; ``phys`` is its first physical address."""

    def __init__(self, phys: int, size: int) -> None:
        super().__init__(errno.EFAULT, f"old memory {phys:#x}..{phys + size:#x} cannot be read")
        self.phys = phys
        self.size = size

    def __str__(self) -> str:
        return str(self.strerror)


_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS)


def shortage(error: BaseException) -> ShortageError | None:
    """What is short, if that is why ``error`` was raised; None if it was raised for anything else.

    Looks at what caused it, too, and into the groups in which trio raises several errors at once.
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
    if isinstance(error, RuntimeError) and "start new thread" in str(error):  # as threading says it
        return ShortageError("no room for one more thread; free memory, or raise ulimit -u")
    return shortage(error.__cause__) if error.__cause__ else None
