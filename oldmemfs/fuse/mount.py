"""Mounting: from a catalog to a live file system and back."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyfuse3
import trio

from ..errors import SourceError, UsageError
from ..host.files import read_text
from ..host.hide import hide_process
from ..host.mounts import MountTable
from .bind import Binder
from .filesystem import Filesystem
from .server import Mount, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..options import Bind
    from ..views.catalog import Catalog

_FUSE_CONF = "/etc/fuse.conf"
_READ_AHEAD_KIB = 1024
_MOST_WAITING = 4096  # requests; pyfuse3's default, 99 that wait for a scan, would stop the mount
_ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MountSettings:
    """How to mount."""

    strict: bool
    direct_io: bool
    allow: frozenset[str]
    in_c: bool  # reads are answered in C, if this process may mount by itself
    debug: bool
    name: str  # what the mount table shows as the source
    bind: Bind | None = None  # what is mounted over /proc/vmcore as well


def check_mountpoint(path: str) -> None:
    """Raise ``UsageError`` for a place where nothing can be mounted, before anything is opened."""
    if Mount.at(path):
        raise UsageError(
            f"{path}: an oldmemfs is mounted there already: umount {path} first, or give another "
            "directory"
        )
    if not os.path.isdir(path):
        raise UsageError(f"{path}: not a directory")
    if not os.path.exists("/dev/fuse"):
        raise SourceError("/dev/fuse: not there; run modprobe fuse (fuse.ko in a capture kernel)")


def _advice(manner: MountSettings) -> str:
    """What to do when libfuse's helper refuses to mount."""
    words = (read_text(_FUSE_CONF) or "").split("\n")
    if manner.allow and os.getuid() != 0 and "user_allow_other" not in map(str.strip, words):
        given = ", ".join(f"-o {word}" for word in sorted(manner.allow))
        return f"{given} is root's unless {_FUSE_CONF} has a line user_allow_other: add it"
    return "oldmemfs --check says what is missing"


def _fuse_options(manner: MountSettings) -> set[str]:
    options = set(pyfuse3.default_options)
    options |= {"ro", "nodev", "nosuid", "noexec", "subtype=oldmemfs"} | manner.allow
    options.add("fsname=" + manner.name.replace("\\", "\\\\").replace(",", "\\,"))
    if manner.debug:
        options.add("debug")
    return options


def _set_read_ahead(mountpoint: str) -> None:
    """Let the page cache ask for a MiB at a time; the default 128 KiB halves a copy's speed."""
    mount = Mount.at(mountpoint)
    if mount:
        try:
            with open(f"/sys/class/bdi/{mount.device}/read_ahead_kb", "w") as knob:
                knob.write(str(_READ_AHEAD_KIB))
        except OSError:
            return  # not root: slower, not wrong


@contextlib.contextmanager
def _signals(how: int) -> Iterator[None]:
    """Hold back what ends us (SIG_BLOCK) while something is half mounted, or it would stay so."""
    before = signal.pthread_sigmask(how, _ENDS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


async def _serve(
    catalog: Catalog,
    filesystem: Filesystem,
    server: Server | None,
    binder: Binder | None,
    ready: Callable[[], None],
    follow_root: Callable[[], None] | None,
) -> None:
    async with trio.open_nursery() as nursery:

        def stop() -> None:
            """End, whatever requests still wait for: their callers get an error."""
            catalog.cancel()
            nursery.cancel_scope.cancel()

        async def stop_on_signal() -> None:
            with trio.open_signal_receiver(*_ENDS) as caught, _signals(signal.SIG_UNBLOCK):
                async for _ in caught:
                    stop()

        async def follow(server: Server) -> None:
            while not server.ended:
                await trio.lowlevel.wait_readable(server.wake)
                os.read(server.wake, 8)
                filesystem.collect()
            stop()

        async def bind(binder: Binder) -> None:
            await binder.keep(catalog, ready)
            if binder.error:
                stop()

        async def follow_mounts(follow_root: Callable[[], None]) -> None:
            with MountTable() as table:
                while True:
                    follow_root()
                    await table.changed()

        await nursery.start(filesystem.builds.run)
        nursery.start_soon(stop_on_signal)
        if follow_root:
            nursery.start_soon(follow_mounts, follow_root)
        if server:
            nursery.start_soon(follow, server)
        if binder:
            nursery.start_soon(bind, binder)
        else:
            ready()
        await pyfuse3.main(max_tasks=_MOST_WAITING)
        stop()


def _own_mount(mountpoint: str, manner: MountSettings) -> Server | None:
    """A mount whose reads C answers; None, with a warning, where this process may not make one."""
    try:
        return Server(mountpoint, manner.name, everybody=bool(manner.allow))
    except OSError as error:
        _log.warning("reads are answered in Python, which is slower: %s", error)
        return None


def mount_and_serve(
    catalog: Catalog,
    mountpoint: str,
    manner: MountSettings,
    ready: Callable[[], None],
    follow_root: Callable[[], None] | None = None,
) -> None:
    """Mount, call ``ready``, serve until unmounted or told to stop, leave nothing mounted.

    ``mountpoint`` is absolute and without symbolic links. ``follow_root`` is called whenever
    something was mounted anywhere.
    """
    with contextlib.ExitStack() as stack:
        binder = Binder(manner.bind, mountpoint) if manner.bind else None  # forks: before all else
        if binder:
            stack.callback(binder.end)
        stack.enter_context(_signals(signal.SIG_BLOCK))
        server = _own_mount(mountpoint, manner) if manner.in_c else None
        if server:
            stack.callback(server.stop)
            stack.callback(server.unmount)
        filesystem = Filesystem(
            catalog,
            server,
            strict=manner.strict,
            direct_io=manner.direct_io,
            uid=os.getuid(),
            gid=os.getgid(),
        )
        target = server.pyfuse3_mountpoint() if server else mountpoint
        try:
            pyfuse3.init(filesystem, target, _fuse_options(manner))
        except RuntimeError as error:
            raise SourceError(f"{mountpoint}: cannot mount ({error}); {_advice(manner)}") from error
        stack.callback(pyfuse3.close, unmount=server is None)
        if binder:
            stack.callback(binder.unbind)
        if server:
            server.start(strict=manner.strict)
        if os.getuid() == 0:
            hide_process()
        if not manner.direct_io:
            _set_read_ahead(mountpoint)
        trio.run(_serve, catalog, filesystem, server, binder, ready, follow_root)
        if binder and binder.error:
            raise binder.error
        if server:
            server.check()
