# SPDX-License-Identifier: MIT
"""/proc/self/mountinfo: which mounts are on a path, which device is a tmpfs, and changes of it.

The fields of a line are described in proc_pid_mountinfo(5).
"""

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
_DEVICE, _ROOT, _POINT = 2, 3, 4  # fields of a line: MAJOR:MINOR, root in it, mount point


def mounts_at(path: str) -> list[list[str]]:
    """The mounts whose mount point is ``path``: the fields of their lines, the topmost mount last.

    Sends no request to the file system at ``path``, which may be this process's own mount.

    Raises ``OSError`` if mountinfo cannot be read, for example when no descriptor is free.
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
    """Whether the device ``number`` (``st_dev`` of a file) is a mounted tmpfs."""
    device = b"%d:%d" % (os.major(number), os.minor(number))
    table = _lines(read_bytes(_TABLE) or b"")
    return any(f[_DEVICE] == device and f[f.index(b"-") + 1] == b"tmpfs" for f in table)


def _lines(table: bytes) -> Iterator[list[bytes]]:
    return (line.split() for line in table.splitlines())


def _plain(field: bytes) -> bytes:
    """A path with mountinfo's octal escapes undone (space, tab, newline, backslash)."""
    return re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), field)


class MountTable:
    """mountinfo, held open: it stays readable while switch-root moves /proc."""

    def __enter__(self) -> Self:
        self._file = open(_TABLE, "rb", buffering=0)
        # A change of the table is EPOLLPRI on its descriptor. trio waits for readability only; an
        # epoll descriptor becomes readable when an event is pending in it.
        self._changes = select.epoll()
        self._changes.register(self._file.fileno(), select.EPOLLPRI)
        return self

    def __exit__(self, *_: object) -> None:
        self._changes.close()
        self._file.close()

    def has(self, device: str) -> bool:
        """Whether the file system ``device`` (MAJOR:MINOR) is mounted by its root directory.

        A bind mount of one of its files does not count.
        """
        self._file.seek(0)
        lines = _lines(self._file.read())
        return any(f[_DEVICE] == device.encode() and f[_ROOT] == b"/" for f in lines)

    async def changed(self) -> None:
        """Wait until the table has changed since the last call."""
        import trio

        await trio.lowlevel.wait_readable(self._changes.fileno())
        self._changes.poll(0)
