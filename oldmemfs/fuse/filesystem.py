# SPDX-License-Identifier: MIT
"""Filesystem: the handlers of FUSE requests for pyfuse3: names, inodes, attributes, reads, errno.

Every handler raises ``FUSEError`` or nothing, because pyfuse3 ends the mount on any other exception
(``total``). If a ``Server`` answers reads in C, each open file is registered with it; the C code
must then do exactly what the read handler here does.

All handlers run in one trio thread, and none waits in it for a source: ``Builds`` does the work in
threads. lookup and readdir do not wait at all, because the kernel holds the directory's lock until
they are answered, and then every other lookup in the directory would wait, too. They give a size
that is not known yet as 0 with a timeout of 0, so that the kernel asks getattr, for which it does
not hold that lock, before it reports the size to anyone. So the first stat of `vmcore-kern` starts
the scan and waits for it.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import pyfuse3

from ..errors import OldmemError, shortage
from ..maps.plan import Plan
from ..maps.table import MIB, Kind, Reader, Row, Table
from ..views.catalog import LiveView, View
from .builds import Builds
from .inodes import Node, build_inodes

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ..views.catalog import Catalog
    from .server import Server

P = ParamSpec("P")
R = TypeVar("R")
_log = logging.getLogger(__name__)
_END_OF_TIME = 1 << 33  # seconds since 1970: the year 2242; more may not fit in 2^63 nanoseconds
_READERS = 4  # read buffers of 1 MiB that are kept for later reads
_FOREVER = 86400.0  # seconds that the kernel may cache a name or a size: they never change


@dataclass(slots=True)
class Open:
    """An open file: the table of its plan; of a live view, that of its text when it was opened."""

    name: str
    plan: Plan | None
    table: Table


def _errno(error: Exception, what: str) -> int:
    if short := shortage(error):
        _log.warning("%s: %s", what, short)
        return errno.ENOMEM
    if isinstance(error, OldmemError):
        _log.warning("%s: %s", what, error)
    elif isinstance(error, OSError) and error.errno:
        return error.errno
    else:
        _log.error("%s: unexpected error", what, exc_info=error)
    return errno.EIO


def total(handler: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Turn every exception of a handler into a ``FUSEError``."""

    @functools.wraps(handler)
    async def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await handler(*args, **kwargs)
        except pyfuse3.FUSEError:
            raise
        except Exception as error:
            raise pyfuse3.FUSEError(_errno(error, handler.__name__)) from error

    return guarded


class Filesystem(pyfuse3.Operations):
    """The views of a catalog as read-only files, owned by ``uid`` and ``gid``.

    ``strict``: reads of bad memory give EIO. ``direct_io``: reads bypass the page cache.
    """

    def __init__(
        self,
        catalog: Catalog,
        server: Server | None,
        *,
        strict: bool,
        direct_io: bool,
        uid: int,
        gid: int,
    ) -> None:
        super().__init__()
        self._catalog = catalog
        self._server = server
        self._strict = strict
        self._direct_io = direct_io
        self._owner = (uid, gid)
        self._nodes = build_inodes(catalog.views)
        self._open: dict[int, Open] = {}
        self._next_handle = 1
        self._readers: list[Reader] = []  # free ones
        self.builds = Builds(catalog)
        time = catalog.dump.vmcoreinfo.crash_time or 0
        self._time_ns = time * 10**9 if 0 <= time < _END_OF_TIME else 0

    # -- names and attributes ---------------------------------------------------------------

    def _node(self, inode: int) -> Node:
        node = self._nodes.get(inode)
        if node is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return node

    async def _text(self, view: LiveView) -> bytes:
        self.collect()
        return await self.builds.text(view)

    def _size_now(self, view: View | LiveView | None) -> int | None:
        """The size in bytes if it is known and final; None if not; 0 for a view that failed."""
        if view is None:
            return 0
        plan = self._catalog.known(view)
        return plan.size if isinstance(plan, Plan) else None if plan is None else 0

    async def _size(self, view: View | LiveView) -> int:
        """The size in bytes; builds the view if need be, which may take a scan; 0 if that fails."""
        if isinstance(view, LiveView):
            return len(await self._text(view))
        try:
            return (await self.builds.plan(view)).size
        except OldmemError:
            return 0

    def _stored(self, node: Node, size: int) -> int:
        """Bytes of ``size`` that are not in holes, for st_blocks.

        cp looks for holes (SEEK_DATA) only if st_blocks is less than the size.
        """
        plan = self._catalog.known(node.view) if node.view else None
        return plan.table.data_size if isinstance(plan, Plan) else size

    async def _attributes(self, node: Node, *, wait: bool) -> pyfuse3.EntryAttributes:
        """The attributes; without ``wait``, the size is 0 with a timeout of 0 if not yet known."""
        size = self._size_now(node.view)
        if size is None and node.view and wait:
            size = await self._size(node.view)
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = node.inode
        entry.generation = 0
        if node.view is None:
            entry.st_mode = stat.S_IFDIR | 0o500
            entry.st_nlink = 2 + sum(self._nodes[i].view is None for i in node.children.values())
        else:
            entry.st_mode = stat.S_IFREG | 0o400
            entry.st_nlink = 1
        entry.st_uid, entry.st_gid = self._owner
        entry.st_rdev = 0
        entry.st_size = size or 0
        entry.st_blksize = MIB  # so that cp reads 1 MiB at a time
        entry.st_blocks = -(-self._stored(node, entry.st_size) // 512)
        entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = self._time_ns
        entry.entry_timeout = _FOREVER
        entry.attr_timeout = 0.0 if self._size_now(node.view) is None else _FOREVER
        return entry

    @total
    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """Attributes of an inode; waits until the size is known."""
        return await self._attributes(self._node(inode), wait=True)

    @total
    async def lookup(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """Attributes of a name in a directory; does not wait for its size."""
        parent = self._node(parent_inode)
        inode = {b".": parent.inode, b"..": parent.parent}.get(name, parent.children.get(name))
        if inode is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return await self._attributes(self._node(inode), wait=False)

    @total
    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        """Open a directory; its handle is its inode. ENOTDIR for a file."""
        if self._node(inode).view is not None:
            raise pyfuse3.FUSEError(errno.ENOTDIR)
        return inode

    @total
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """The names after the first ``start_id`` ones, as many as fit into the reply."""
        names = list(self._node(fh).children.items())
        for i, (name, inode) in enumerate(names[start_id:], start_id + 1):
            entry = await self._attributes(self._node(inode), wait=False)
            if not pyfuse3.readdir_reply(token, name, entry, i):
                break

    @total
    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        """No blocks, as in procfs: otherwise monitoring would report a full disk."""
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = 4096
        data.f_namemax = 255
        return data

    # -- contents -----------------------------------------------------------------------------

    @total
    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """Open a file for reading, which builds its view.

        EACCES for another mode, EISDIR for a directory, EIO if the view cannot be built, ENOMEM if
        memory or descriptors were short.
        """
        view = self._node(inode).view
        if view is None:
            raise pyfuse3.FUSEError(errno.EISDIR)
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise pyfuse3.FUSEError(errno.EACCES)
        if isinstance(view, LiveView):
            text = await self._text(view)
            rows = [Row(0, len(text), Kind.BYTES)] if text else []
            opened = Open(view.name, None, Table(rows, text, None))
        else:
            plan = await self.builds.plan(view)
            opened = Open(view.name, plan, plan.table)
        handle = self._next_handle
        self._next_handle += 1
        direct = self._direct_io or opened.plan is None
        if self._server:
            backing = -1 if direct or opened.plan is None else opened.plan.backing()
            self._server.open(handle, inode, opened.table, backing)
        self._open[handle] = opened
        return pyfuse3.FileInfo(fh=handle, direct_io=direct, keep_cache=not direct)

    async def read(  # type: ignore[override]  # pyfuse3 takes any buffer
        self, fh: int, off: int, size: int
    ) -> bytes | memoryview:
        """The bytes at ``off``, fewer than ``size`` only at the end of the file.

        Bytes that cannot be read are zeros and are added to `badpages`; with ``strict``, EIO.
        """
        try:
            opened = self._open[fh]
            reader = self._readers.pop() if self._readers else Reader()
            # Without a thread if possible: starting one takes longer than the copy.
            got = reader.read_now(opened.table, off, size)
            if got is None:
                got = await self.builds.read(reader, opened.table, off, size)
            data, faults = got
            # Its buffer may be used again: pyfuse3 sends the reply before another task runs.
            if len(self._readers) < _READERS:
                self._readers.append(reader)
            if faults and opened.plan:
                self._catalog.badpages.add(opened.name, opened.plan, faults)
                if self._strict:
                    raise pyfuse3.FUSEError(errno.EIO)
        except pyfuse3.FUSEError:
            raise
        except Exception as error:
            raise pyfuse3.FUSEError(_errno(error, "read")) from error
        return data

    async def release(self, fh: int) -> None:
        """Close a file handle."""
        if self._server:
            self._server.close(fh)
        self._open.pop(fh, None)

    def collect(self) -> None:
        """Add to `badpages` what the server's threads could not read since the last call."""
        if self._server is None:
            return
        unreadable, lost = self._server.unreadable()
        for inode, fault in unreadable:
            view = self._nodes[inode].view
            plan = self._catalog.known(view) if view else None
            if view and isinstance(plan, Plan):
                self._catalog.badpages.add(view.name, plan, [fault])
        self._catalog.badpages.lose(lost)
