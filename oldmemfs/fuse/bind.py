"""``-o bind=``: one view's file is also mounted over /proc/vmcore, or over another file.

The bind mount is made by a helper that is forked before the FUSE mount exists: a process that waits
for a file of the very mount that it serves cannot even be killed, and one that holds the mount's
descriptor keeps it alive.

::

    helper      fork ........ wait ....... mount(2) ... told ... exit
    daemon      fork ... FUSE mount ... view built ... go ... ready ... umount of either ... end
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from typing import TYPE_CHECKING

import trio

from ..errors import OldmemError, SourceError, UsageError
from ..host.mounts import MountTable, mounts_at
from ..views.catalog import View
from .server import Mount

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from ..options import Bind
    from ..views.catalog import Catalog

VMCORE = "/proc/vmcore"
_MS_BIND, _MNT_DETACH = 4096, 2
_OK = b"ok"


def _libc_error(name: str, *arguments: object) -> str | None:
    """Call the C library; None, or what went wrong."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) == 0:
        return None
    return os.strerror(ctypes.get_errno())


def check_view(bind: Bind, views: Collection[str]) -> None:
    """Raise ``UsageError`` for a view that is not there."""
    if bind.view not in views:
        raise UsageError(f"-o bind={bind.view}: no such view; there are {', '.join(views)}")


def check_target(bind: Bind) -> None:
    """Raise for a target that cannot be mounted over, before anything is opened."""
    if os.getuid() != 0:
        raise UsageError("-o bind= mounts over another file: be root")
    try:
        fd = os.open(bind.target, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        advice = "the file must exist"
        if error.errno == errno.ENOTCONN:
            advice = f"a daemon that died left it mounted: umount {bind.target}"
        elif bind.target == VMCORE:
            advice = "it is there only in a capture kernel; -o bind=VIEW:FILE takes another file"
        message = f"-o bind={bind.view}: {bind.target}: {error.strerror}; {advice}"
        raise SourceError(message) from error
    regular = stat.S_ISREG(os.fstat(fd).st_mode)
    os.close(fd)
    if not regular:
        raise UsageError(f"-o bind={bind.view}: {bind.target}: not a regular file")


class Binder:
    """The bind mount's life beside the mount that it shows."""

    def __init__(self, bind: Bind, mountpoint: str) -> None:
        """Fork the helper: no thread may run yet."""
        self._bind = bind
        self._mountpoint = mountpoint
        self._mounts = len(mounts_at(bind.target))
        self._made = False
        self.error: OldmemError | None = None
        wait, self._go = os.pipe()
        self._told, tell = os.pipe()
        self._helper = os.fork()
        if self._helper == 0:
            os.close(self._go)
            self._help(wait, tell)
        os.close(wait)
        os.close(tell)

    def _help(self, wait: int, tell: int) -> None:
        """The helper: wait for the word, mount, tell, end."""
        status = 1
        try:
            if os.read(wait, 1):
                source = os.path.join(self._mountpoint, self._bind.view).encode()
                target = self._bind.target.encode()
                error = _libc_error("mount", source, target, None, _MS_BIND, None)
                os.write(tell, _OK if error is None else error.encode())
                status = 0
        finally:
            os._exit(status)

    async def keep(self, catalog: Catalog, ready: Callable[[], None]) -> None:
        """Bind, call ``ready``, and undo it when the mount point is unmounted.

        Returns at once, with ``error`` set, when the view cannot be built or bound.
        """
        view = next(v for v in catalog.views if v.name == self._bind.view)
        try:
            if isinstance(view, View):
                await trio.to_thread.run_sync(catalog.plan, view, abandon_on_cancel=True)
            os.write(self._go, b"1")
            await trio.lowlevel.wait_readable(self._told)
            told = os.read(self._told, 200)
            self._reap()
            if told != _OK:
                why = told.decode(errors="replace") or "the helper died"
                raise SourceError(f"cannot mount {view.name} over {self._bind.target}: {why}")
        except OldmemError as error:
            self.error = error
            return
        self._made = True
        ready()
        # The bind mount alone would keep the daemon alive.
        mount = Mount.at(self._mountpoint)
        with MountTable() as table:
            while mount and table.has(mount.device):
                await table.changed()
        self.unbind()

    def unbind(self) -> None:
        """Take the bind mount away; who reads through it may go on until they close it."""
        if self._made and len(mounts_at(self._bind.target)) > self._mounts:
            _libc_error("umount2", self._bind.target.encode(), _MNT_DETACH)
        self._made = False

    def end(self) -> None:
        """See the helper end. Only after the FUSE mount: until then it may wait for an answer."""
        for fd in (self._go, self._told):
            os.close(fd)
        self._reap()

    def _reap(self) -> None:
        """Leave no zombie: systemd-shutdown waits for one, 90 seconds and more."""
        if self._helper:
            os.waitpid(self._helper, 0)
            self._helper = 0
