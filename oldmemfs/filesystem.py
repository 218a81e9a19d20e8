"""Filesystem: names, inodes and errno. Knows no ELF, no kernel, no /dev/mem.

Its boundary is total: a handler raises ``FUSEError`` or nothing, because pyfuse3 ends the mount on
any other exception. Where a ``Server`` answers reads in C, it is told of every open file, and the
read handler here is its model. Else reads run inline in the one trio thread: a thread hop costs
more than the copy of a MiB, and a capture kernel has one CPU. Plans that are not built yet are
built in a thread, so that every other file goes on being served.
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
import trio

from .errors import OldmemError
from .plan import Plan
from .table import MIB, Kind, Reader, Row, Table
from .tree import Node, grow
from .view import LiveView, View

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from .serve import Server
    from .view import Catalog

P = ParamSpec("P")
R = TypeVar("R")
_log = logging.getLogger(__name__)
_END_OF_TIME = 1 << 33  # seconds; stat counts 2^63 nanoseconds, and no kernel says more than 2242
_FOREVER = 86400.0  # seconds that the kernel may keep a name or a size: they never change


@dataclass(slots=True)
class Open:
    """An open file: a plan's table, or of the text that a live view had when it was opened."""

    name: str
    plan: Plan | None
    table: Table


def _errno(error: Exception, what: str) -> int:
    if isinstance(error, OSError) and error.errno and not isinstance(error, OldmemError):
        return error.errno
    if isinstance(error, OldmemError):
        _log.warning("%s: %s", what, error)
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
    """The catalog's views, served read-only to whoever mounted them."""

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
        self._nodes = grow(catalog.views)
        self._open: dict[int, Open] = {}
        self._next_handle = 1
        self._reader = Reader()
        time = catalog.dump.vmcoreinfo.crash_time or 0
        self._time_ns = time * 10**9 if 0 <= time < _END_OF_TIME else 0

    # -- names and attributes ---------------------------------------------------------------

    def _node(self, inode: int) -> Node:
        node = self._nodes.get(inode)
        if node is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return node

    async def _plan(self, view: View) -> Plan:
        known = self._catalog.known(view)
        if isinstance(known, Plan):
            return known
        return await trio.to_thread.run_sync(self._catalog.plan, view, abandon_on_cancel=True)

    async def _text(self, view: LiveView) -> bytes:
        """In a thread: the first summary looks a symbol up, seconds of work on a slow machine."""
        self.collect()
        return (await trio.to_thread.run_sync(view.text, self._catalog)).encode()

    async def _size(self, node: Node) -> int:
        """Exact, waiting for a scan if need be; 0 for a view that cannot be built."""
        if isinstance(node.view, LiveView):
            return len(await self._text(node.view))
        if node.view is None:
            return 0
        try:
            return (await self._plan(node.view)).size
        except OldmemError:
            return 0

    def _stored(self, node: Node, size: int) -> int:
        """Bytes outside the holes: where they are fewer than ``size``, cp looks for the holes."""
        plan = self._catalog.known(node.view) if node.view else None
        return plan.table.data_size if isinstance(plan, Plan) else size

    async def _attributes(self, node: Node, *, wait: bool = True) -> pyfuse3.EntryAttributes:
        """Without ``wait``, a size that takes work is left to be asked for."""
        view = node.view
        if isinstance(view, View):
            wait |= not view.scan or self._catalog.known(view) is not None
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
        entry.st_size = await self._size(node) if wait else 0
        entry.st_blksize = MIB  # so that cp and friends ask for as much
        entry.st_blocks = -(-self._stored(node, entry.st_size) // 512)
        entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = self._time_ns
        entry.entry_timeout = _FOREVER
        entry.attr_timeout = _FOREVER if wait and not isinstance(view, LiveView) else 0.0
        return entry

    @total
    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """Attributes of an inode."""
        return await self._attributes(self._node(inode))

    @total
    async def lookup(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """Attributes of a name in a directory."""
        parent = self._node(parent_inode)
        inode = {b".": parent.inode, b"..": parent.parent}.get(name, parent.children.get(name))
        if inode is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return await self._attributes(self._node(inode))

    @total
    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        """A directory's handle is its inode."""
        if self._node(inode).view is not None:
            raise pyfuse3.FUSEError(errno.ENOTDIR)
        return inode

    @total
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """The names, from the one after ``start_id`` on."""
        names = list(self._node(fh).children.items())
        for i, (name, inode) in enumerate(names[start_id:], start_id + 1):
            entry = await self._attributes(self._node(inode), wait=False)
            if not pyfuse3.readdir_reply(token, name, entry, i):
                break

    @total
    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        """Nothing to count, as procfs: what is no disk must not be reported as a full one."""
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = 4096
        data.f_namemax = 255
        return data

    # -- contents -----------------------------------------------------------------------------

    @total
    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """Open for reading; EACCES for anything else, EIO for a view that cannot be built."""
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
            plan = await self._plan(view)
            opened = Open(view.name, plan, plan.table)
        handle = self._next_handle
        self._next_handle += 1
        if self._server:
            self._server.open(handle, inode, opened.table)
        self._open[handle] = opened
        direct = self._direct_io or opened.plan is None
        return pyfuse3.FileInfo(fh=handle, direct_io=direct, keep_cache=not direct)

    async def read(  # type: ignore[override]  # pyfuse3 takes any buffer
        self, fh: int, off: int, size: int
    ) -> bytes | memoryview:
        """The bytes, short only at the end; unreadable ones as zeros, or EIO if strict."""
        try:
            opened = self._open[fh]
            data, faults = self._reader.read(opened.table, off, size)
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
        """Forget an open file."""
        if self._server:
            self._server.close(fh)
        self._open.pop(fh, None)

    def collect(self) -> None:
        """Take over what the server's threads could not read, for ``badpages``."""
        if self._server is None:
            return
        met, lost = self._server.met()
        for inode, fault in met:
            view = self._nodes[inode].view
            plan = self._catalog.known(view) if view else None
            if view and isinstance(plan, Plan):
                self._catalog.badpages.add(view.name, plan, [fault])
        self._catalog.badpages.lose(lost)
