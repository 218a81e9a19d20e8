# SPDX-License-Identifier: MIT
"""``-o bind=``: one view's file is also mounted over /proc/vmcore, or over another file.

The bind mount is made by a helper process that is forked before the FUSE mount exists. mount(2) of
a file in the mount sends requests to the daemon and waits for the answers. A daemon that called it
could wait for an answer that only itself can give, and could not even be killed then. A helper that
was forked later would have inherited the /dev/fuse descriptor, which keeps the mount alive.

::

    helper   fork ............ wait ................ mount(2), result -> daemon, exit
    daemon   fork ... FUSE mount ... view built, go -> helper ... ready ... unmounted ... end
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
    """Call a function of the C library; None, or the text of its errno."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) == 0:
        return None
    return os.strerror(ctypes.get_errno())


def check_view(bind: Bind, views: Collection[str]) -> None:
    """Raise ``UsageError`` if ``views`` (names) has no such view."""
    if bind.view not in views:
        raise UsageError(f"-o bind={bind.view}: no such view; there are {', '.join(views)}")


def check_target(bind: Bind) -> None:
    """Check, before the dump is opened, that the target can be mounted over.

    Raises ``UsageError`` without root or if it is no regular file, ``SourceError`` if it cannot be
    opened.
    """
    if os.getuid() != 0:
        raise UsageError("-o bind= mounts over another file, which needs root")
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
    """The bind mount: made when the view is built, removed when the FUSE mount is unmounted.

    ``error`` is the ``OldmemError`` for which it could not be made.
    """

    def __init__(self, bind: Bind, mountpoint: str) -> None:
        """Fork the helper. No thread may run yet: fork copies only the calling one."""
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
        """The helper process: wait for a byte, mount, send the result, exit."""
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
        """Build the view, make the bind mount, call ``ready``; unbind after an unmount.

        Runs until the FUSE mount or the bind mount is gone. If the view cannot be built or bound,
        sets ``error`` and returns.
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
        # After an unmount of the mount point, the bind mount alone would keep the daemon alive.
        mount = Mount.at(self._mountpoint)
        with MountTable() as table:
            while mount and table.has(mount.device):
                await table.changed()
        self.unbind()

    def unbind(self) -> None:
        """Unmount the bind mount lazily: files that are open in it stay readable until closed."""
        if self._made and len(mounts_at(self._bind.target)) > self._mounts:
            _libc_error("umount2", self._bind.target.encode(), _MNT_DETACH)
        self._made = False

    def end(self) -> None:
        """Wait until the helper has exited.

        Only after the FUSE mount is gone: until then the helper may wait for an answer from it.
        """
        for fd in (self._go, self._told):
            os.close(fd)
        self._reap()

    def _reap(self) -> None:
        """Wait for the helper's exit status: systemd-shutdown waits 90 seconds for a zombie."""
        if self._helper:
            os.waitpid(self._helper, 0)
            self._helper = 0
