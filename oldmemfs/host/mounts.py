"""The mount table: asked by path or by device, or held open and waited on."""

from __future__ import annotations

import os
import re
import select
from typing import TYPE_CHECKING

from .files import read_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

_TABLE = "/proc/self/mountinfo"
_DEVICE, _ROOT, _POINT = 2, 3, 4  # fields of a line


def mounts_at(path: str) -> list[list[str]]:
    """The mounts on a path, as fields of mountinfo, the topmost last; asks no file system.

    Raises ``OSError`` if the table cannot be read, for lack of descriptors perhaps.
    """
    name = os.fsencode(path)
    with open(_TABLE, "rb") as file:
        table = file.read()
    return [
        [field.decode(errors="replace") for field in fields]
        for fields in _lines(table)
        if _plain(fields[_POINT]) == name
    ]


def is_tmpfs(number: int) -> bool:
    """Whether a device, as stat gives it, is a tmpfs that is mounted here."""
    device = b"%d:%d" % (os.major(number), os.minor(number))
    table = _lines(read_bytes(_TABLE) or b"")
    return any(f[_DEVICE] == device and f[f.index(b"-") + 1] == b"tmpfs" for f in table)


def _lines(table: bytes) -> Iterator[list[bytes]]:
    return (line.split() for line in table.splitlines())


def _plain(field: bytes) -> bytes:
    """A path without mountinfo's escapes: octal for space, tab, newline and backslash."""
    return re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), field)


class MountTable:
    """The table, held open: it stays readable while switch-root moves /proc away."""

    def __enter__(self) -> Self:
        self._file = open(_TABLE, "rb", buffering=0)
        # The kernel tells of a change by a priority event, which only a second epoll can wait for.
        self._changes = select.epoll()
        self._changes.register(self._file.fileno(), select.EPOLLPRI)
        return self

    def __exit__(self, *_: object) -> None:
        self._changes.close()
        self._file.close()

    def has(self, device: str) -> bool:
        """Whether a file system is mounted anywhere; a bind mount of one of its files is not it."""
        self._file.seek(0)
        lines = _lines(self._file.read())
        return any(f[_DEVICE] == device.encode() and f[_ROOT] == b"/" for f in lines)

    async def changed(self) -> None:
        """Wait for a change since the last wait."""
        import trio

        await trio.lowlevel.wait_readable(self._changes.fileno())
        self._changes.poll(0)
