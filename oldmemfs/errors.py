"""The errors: one root, four children, each also the builtin that it resembles.

Messages start in lower case, name the file and the offset in hex, and say what to do next.
Below ``cli`` nobody prints or exits.
"""

from __future__ import annotations

import errno


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


class FaultError(OldmemError, OSError):
    """Old memory that nothing can read; ``phys`` is its first physical address."""

    def __init__(self, phys: int, size: int) -> None:
        super().__init__(errno.EFAULT, f"old memory {phys:#x}..{phys + size:#x} cannot be read")
        self.phys = phys
        self.size = size

    def __str__(self) -> str:
        return str(self.strerror)
