"""Server: our own hold on /dev/fuse, and C threads that answer reads there without Python.

::

    kernel --/dev/fuse--> C threads --reads of open files--> kernel
                              |
                              +--the rest--> socket pair --> pyfuse3

pyfuse3 takes its end of the pair for the device: libfuse documents ``/dev/fd/N`` as a mount point
for a descriptor that somebody else has mounted. It does not unmount such a one: ``unmount`` does.
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
_SO_SNDBUFFORCE = 32  # asm-generic/socket.h: beyond net.core.wmem_max
_ROOM = 2 * MAX_READ  # of the socket pair: its largest message is a read that Python answers
_MOST_THREADS = 4
_left: list[object] = []  # what threads may still read that a source does not let go


class Mount(NamedTuple):
    """A mounted oldmemfs: where, and as which device."""

    path: str
    device: str  # MAJOR:MINOR

    @staticmethod
    def at(path: str) -> Mount | None:
        """The topmost mount on a path, if it is an oldmemfs.

        From mountinfo, because a stat of the mount would wait for this very process. Raises
        ``OSError`` if that cannot be read.
        """
        mounts = mounts_at(path)
        if not mounts or "fuse.oldmemfs" not in mounts[-1]:
            return None
        return Mount(path, mounts[-1][2])


def _check(result: int, what: str) -> None:
    if result < 0:
        raise OSError(-result, os.strerror(-result), what)


class Server:
    """A mount of our own: made, served by threads between ``start`` and ``stop``, unmounted."""

    def __init__(self, mountpoint: str, source: str, *, everybody: bool) -> None:
        """Mount; reads wait until the threads and pyfuse3 serve.

        Raises ``OSError`` where that takes more than this process may do.
        """
        self._server = ffi.NULL
        self._tables: dict[int, Table] = {}  # that C may read
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
        """What to give to ``pyfuse3.init``, which closes it in ``pyfuse3.close``."""
        return f"/dev/fd/{self._theirs.detach()}"

    def start(self, *, strict: bool) -> None:
        """Start the threads: after the last fork. Raises ``OSError``."""
        threads = min(len(os.sched_getaffinity(0)), _MOST_THREADS)
        server = lib.om_server_start(self._device, self._ours.fileno(), threads, strict)
        if server == ffi.NULL:
            raise OSError(ffi.errno, os.strerror(ffi.errno), DEVICE)
        self._unstarted.pop_all()
        self._ours.detach()
        self._server = server

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to serve: unmounted, or the device failed."""
        return bool(lib.om_server_ended(self._server))

    def check(self) -> None:
        """Raise ``OSError`` if the device failed."""
        _check(lib.om_server_ended(self._server), DEVICE)

    @property
    def wake(self) -> int:
        """A descriptor: readable when there are faults worth a word, or when it has ended."""
        return int(lib.om_server_wake(self._server))

    def open(self, handle: int, inode: int, table: Table) -> None:
        """Answer reads of ``handle`` from ``table``, until ``close``."""
        _check(lib.om_server_open(self._server, handle, inode, table.handle), "open")
        self._tables[handle] = table

    def close(self, handle: int) -> None:
        """Forget a handle; when this returns nobody reads its table."""
        lib.om_server_close(self._server, handle)
        self._tables.pop(handle, None)

    def unreadable(self) -> tuple[list[tuple[int, Fault]], int]:
        """Inode and range of what could not be read since the last call; bytes not listed."""
        count = lib.om_server_unreadable(self._server, self._unreadable, self._lost)
        found = [(m.node, Fault(m.offset, m.size)) for m in self._unreadable[0:count]]
        return found, int(self._lost[0])

    def unmount(self) -> None:
        """Leave nothing mounted that is ours.

        Where nobody can tell what is mounted, for lack of memory or descriptors, take ours to be
        the topmost one: it would be left dead.
        """
        try:
            ours = self._mount is not None and Mount.at(self._mount.path) == self._mount
        except (OSError, MemoryError):
            ours = True
        if ours and self._mount:
            lib.om_umount(os.fsencode(self._mount.path))

    def stop(self) -> None:
        """End the threads and let the device go: whoever still waits gets an error."""
        if self._server == ffi.NULL:
            self._unstarted.close()
        elif lib.om_server_stop(self._server):
            _left.append(self._tables)


def _pair(stack: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    """A socket pair that takes our largest message at once, whatever wmem_max is."""
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in pair:
        stack.callback(end.close)
        end.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _ROOM)
    return pair
