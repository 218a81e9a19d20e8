# SPDX-License-Identifier: MIT
"""Mounting a catalog, serving it, and unmounting."""

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
_MOST_WAITING = 4096  # requests at once; with pyfuse3's default, 99 waiting stats block all others
_ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MountSettings:
    """What the options say about the mount."""

    strict: bool
    direct_io: bool
    allow: frozenset[str]
    in_c: bool  # answer reads in C, if this process has the right to call mount(2)
    debug: bool
    name: str  # the source in the mount table
    bind: Bind | None = None  # -o bind=


def check_mountpoint(path: str) -> None:
    """Check, before the dump is opened, that ``path`` can be mounted on.

    Raises ``UsageError`` if an oldmemfs is mounted there or it is no directory, ``SourceError`` if
    there is no /dev/fuse.
    """
    if Mount.at(path):
        raise UsageError(
            f"{path}: an oldmemfs is mounted there already: umount {path} first, or give another "
            "directory"
        )
    if not os.path.isdir(path):
        raise UsageError(f"{path}: not a directory")
    if not os.path.exists("/dev/fuse"):
        raise SourceError(
            "/dev/fuse: no such device; run modprobe fuse (a capture kernel's initramfs needs "
            "fuse.ko)"
        )


def _advice(settings: MountSettings) -> str:
    """What to do after libfuse's fusermount3 has refused to mount."""
    words = (read_text(_FUSE_CONF) or "").split("\n")
    if settings.allow and os.getuid() != 0 and "user_allow_other" not in map(str.strip, words):
        given = ", ".join(f"-o {word}" for word in sorted(settings.allow))
        return f"{given} needs root, or a line user_allow_other in {_FUSE_CONF}"
    return "oldmemfs --check says what is missing"


def _fuse_options(settings: MountSettings) -> set[str]:
    options = set(pyfuse3.default_options)
    options |= {"ro", "nodev", "nosuid", "noexec", "subtype=oldmemfs"} | settings.allow
    options.add("fsname=" + settings.name.replace("\\", "\\\\").replace(",", "\\,"))
    if settings.debug:
        options.add("debug")
    return options


def _set_read_ahead(mountpoint: str) -> None:
    """Set the mount's read-ahead to 1 MiB: with the default of 128 KiB a copy is half as fast."""
    mount = Mount.at(mountpoint)
    if mount:
        try:
            with open(f"/sys/class/bdi/{mount.device}/read_ahead_kb", "w") as knob:
                knob.write(str(_READ_AHEAD_KIB))
        except OSError:
            return  # needs root; without it copies are slower


@contextlib.contextmanager
def _signals(how: int) -> Iterator[None]:
    """Block the terminating signals (``how`` = SIG_BLOCK), or unblock them, within the block.

    They are blocked while the mount is set up and taken down: a signal then would leave it behind.
    """
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
            """End serving. Requests that still wait for something are answered with an error."""
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


def _own_mount(mountpoint: str, settings: MountSettings) -> Server | None:
    """A mount of our own, with reads answered in C; None and a warning if mount(2) fails."""
    try:
        return Server(mountpoint, settings.name, everybody=bool(settings.allow))
    except OSError as error:
        _log.warning("reads are answered in Python, which is slower: %s", error)
        return None


def mount_and_serve(
    catalog: Catalog,
    mountpoint: str,
    settings: MountSettings,
    ready: Callable[[], None],
    follow_root: Callable[[], None] | None = None,
) -> None:
    """Mount, call ``ready``, and serve until somebody unmounts or a signal ends it; then unmount.

    ``mountpoint`` is absolute and without symbolic links. ``follow_root`` is called after every
    change of the mount table. No thread may run yet.

    Raises ``SourceError`` if it cannot be mounted, the error of the bind mount (``Binder.error``),
    and ``OSError`` if /dev/fuse failed.
    """
    with contextlib.ExitStack() as stack:
        # The binder forks, so it comes before everything that starts a thread.
        binder = Binder(settings.bind, mountpoint) if settings.bind else None
        if binder:
            stack.callback(binder.end)
        stack.enter_context(_signals(signal.SIG_BLOCK))
        server = _own_mount(mountpoint, settings) if settings.in_c else None
        if server:
            stack.callback(server.stop)
            stack.callback(server.unmount)
        filesystem = Filesystem(
            catalog,
            server,
            strict=settings.strict,
            direct_io=settings.direct_io,
            uid=os.getuid(),
            gid=os.getgid(),
        )
        target = server.pyfuse3_mountpoint() if server else mountpoint
        try:
            pyfuse3.init(filesystem, target, _fuse_options(settings))
        except RuntimeError as error:
            raise SourceError(
                f"{mountpoint}: cannot mount ({error}); {_advice(settings)}"
            ) from error
        stack.callback(pyfuse3.close, unmount=server is None)
        if binder:
            stack.callback(binder.unbind)
        if server:
            server.start(strict=settings.strict)
        if os.getuid() == 0:
            hide_process()
        if not settings.direct_io:
            _set_read_ahead(mountpoint)
        trio.run(_serve, catalog, filesystem, server, binder, ready, follow_root)
        if binder and binder.error:
            raise binder.error
        if server:
            server.check()
