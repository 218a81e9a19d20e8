# SPDX-License-Identifier: MIT
"""Server: a mount made without libfuse, in which C threads answer reads without Python.

::

    kernel --/dev/fuse--> C threads --reads of open files--> kernel
                              |
                              +--all other requests--> socket pair --> pyfuse3

The C threads read /dev/fuse. They pass all requests but reads of registered files to pyfuse3, which
takes its end of the socket pair for the device: libfuse documents ``/dev/fd/N`` as a mount point
for a descriptor that is mounted already. libfuse does not unmount such a mount; ``unmount`` does.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING, NamedTuple

from .._oldmem import ffi, lib
from ..host.mounts import mounts_at
from ..maps.table import MAX_READ, Fault

if TYPE_CHECKING:
    from ..maps.table import Table

DEVICE = "/dev/fuse"
_SO_SNDBUFFORCE = 32  # asm-generic/socket.h: SO_SNDBUF without the limit net.core.wmem_max
_ROOM = 2 * MAX_READ  # bytes of the socket buffers; the largest message is an answer to a read
_MOST_THREADS = 4
# Tables that threads may still read after ``stop``, because a source hangs: never freed.
_left: list[object] = []


class Mount(NamedTuple):
    """A mounted oldmemfs: its mount point and its device number."""

    path: str
    device: str  # MAJOR:MINOR

    @staticmethod
    def at(path: str) -> Mount | None:
        """The topmost mount on ``path`` if it is an oldmemfs, else None.

        Looks into mountinfo, because a stat of our own mount would wait for this process itself.
        Raises ``OSError`` if mountinfo cannot be read.
        """
        mounts = mounts_at(path)
        if not mounts or "fuse.oldmemfs" not in mounts[-1]:
            return None
        return Mount(path, mounts[-1][2])


def _check(result: int, what: str) -> None:
    if result < 0:
        raise OSError(-result, os.strerror(-result), what)


class Server:
    """A mount of our own: made by the constructor, served from ``start`` to ``stop``."""

    def __init__(self, mountpoint: str, source: str, *, everybody: bool) -> None:
        """Mount ``source`` on ``mountpoint``; with ``everybody``, for all users (allow_other).

        Requests wait until ``start`` was called and pyfuse3 runs. Raises ``OSError`` if mount(2)
        fails, for instance without root.
        """
        self._server = ffi.NULL
        self._tables: dict[int, Table] = {}  # by handle; C reads them, so they must stay alive
        self._unreadable = ffi.new("struct om_unreadable[]", lib.OM_UNREADABLE_MAX)
        self._lost = ffi.new("uint64_t *")
        with contextlib.ExitStack() as stack:
            self._ours, self._theirs = _pair(stack)
            self._device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
            stack.callback(os.close, self._device)
            options = f"fd={self._device},rootmode=40000,user_id={os.getuid()}"
            options += f",group_id={os.getgid()},default_permissions,max_read={MAX_READ}"
            options += ",allow_other" * everybody
            result = lib.om_mount(os.fsencode(source), os.fsencode(mountpoint), options.encode())
            _check(result, mountpoint)
            try:
                self._mount = Mount.at(mountpoint)
            except (OSError, MemoryError):
                lib.om_umount(os.fsencode(mountpoint))
                raise
            self._unstarted = stack.pop_all()

    def pyfuse3_mountpoint(self) -> str:
        """The mount point for ``pyfuse3.init``; ``pyfuse3.close`` closes its descriptor."""
        return f"/dev/fd/{self._theirs.detach()}"

    def start(self, *, strict: bool) -> None:
        """Start the threads. No fork may follow. Raises ``OSError`` if they cannot be started."""
        threads = min(len(os.sched_getaffinity(0)), _MOST_THREADS)
        server = lib.om_server_start(self._device, self._ours.fileno(), threads, strict)
        if server == ffi.NULL:
            raise OSError(ffi.errno, os.strerror(ffi.errno), DEVICE)
        self._unstarted.pop_all()
        self._ours.detach()
        self._server = server

    @property
    def ended(self) -> bool:
        """Whether the mount was unmounted, or /dev/fuse failed."""
        return bool(lib.om_server_ended(self._server))

    def check(self) -> None:
        """Raise ``OSError`` if /dev/fuse failed."""
        _check(lib.om_server_ended(self._server), DEVICE)

    @property
    def wake(self) -> int:
        """An eventfd that is readable when there are new faults, or when serving has ended."""
        return int(lib.om_server_wake(self._server))

    def open(self, handle: int, inode: int, table: Table, backing: int) -> None:
        """Let C answer reads of the open file ``handle`` from ``table``, until ``close``.

        ``backing`` is a descriptor of a regular file that has the same bytes, or -1. The kernel
        reads that file itself where it can (FUSE passthrough, Linux 6.9).

        Raises ``OSError`` (ENOMEM).
        """
        _check(lib.om_server_open(self._server, handle, inode, table.handle, backing), "open")
        self._tables[handle] = table

    def close(self, handle: int) -> None:
        """End that for ``handle``; returns when no thread reads its table any more."""
        lib.om_server_close(self._server, handle)
        self._tables.pop(handle, None)

    def unreadable(self) -> tuple[list[tuple[int, Fault]], int]:
        """What could not be read since the last call: (inode, range) each, and the lost bytes.

        Lost are bytes of faults for which the list of ``OM_UNREADABLE_MAX`` had no room.
        """
        count = lib.om_server_unreadable(self._server, self._unreadable, self._lost)
        found = [(m.node, Fault(m.offset, m.size)) for m in self._unreadable[0:count]]
        return found, int(self._lost[0])

    def unmount(self) -> None:
        """Unmount, if our mount is the topmost one on its mount point.

        If mountinfo cannot be read, for lack of memory or descriptors, our mount is assumed to be
        the topmost one: otherwise a mount without a daemon would be left.
        """
        try:
            ours = self._mount is not None and Mount.at(self._mount.path) == self._mount
        except (OSError, MemoryError):
            ours = True
        if ours and self._mount:
            lib.om_umount(os.fsencode(self._mount.path))

    def stop(self) -> None:
        """End the threads and close /dev/fuse: requests that still wait get an error."""
        if self._server == ffi.NULL:
            self._unstarted.close()
        elif lib.om_server_stop(self._server):
            _left.append(self._tables)


def _pair(stack: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    """A socket pair whose buffers hold our largest message, also if wmem_max is smaller."""
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in pair:
        stack.callback(end.close)
        end.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _ROOM)
    return pair
