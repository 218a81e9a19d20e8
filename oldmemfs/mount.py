"""Mounting: from a catalog to a live file system and back."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyfuse3
import trio

from .bind import Binder
from .errors import SourceError, UsageError
from .files import mounts_at
from .filesystem import Filesystem
from .table import hide_process

if TYPE_CHECKING:
    from collections.abc import Callable

    from .options import Bind
    from .view import Catalog

_READ_AHEAD_KIB = 1024


@dataclass(frozen=True, slots=True)
class Manner:
    """How to mount."""

    strict: bool
    direct_io: bool
    allow: frozenset[str]
    debug: bool
    name: str  # what the mount table shows as the source
    bind: Bind | None = None  # what is mounted over /proc/vmcore as well


def check_mountpoint(path: str) -> None:
    """Raise ``UsageError`` for a place where nothing can be mounted, before anything is opened."""
    if not os.path.isdir(path):
        raise UsageError(f"{path}: not a directory")
    if not os.path.exists("/dev/fuse"):
        raise SourceError("/dev/fuse: not there; run modprobe fuse (fuse.ko in a capture kernel)")


def _fuse_options(manner: Manner) -> set[str]:
    options = set(pyfuse3.default_options)
    options |= {"ro", "nodev", "nosuid", "noexec", "subtype=oldmemfs"} | manner.allow
    options.add("fsname=" + manner.name.replace("\\", "\\\\").replace(",", "\\,"))
    if manner.debug:
        options.add("debug")
    return options


def _set_read_ahead(mountpoint: str) -> None:
    """Let the page cache ask for a MiB at a time; the default 128 KiB halves a copy's speed.

    The device number comes from mountinfo: a stat of the mount would wait for this very process.
    """
    for fields in mounts_at(mountpoint):
        if "fuse.oldmemfs" in fields:
            try:
                with open(f"/sys/class/bdi/{fields[2]}/read_ahead_kb", "w") as knob:
                    knob.write(str(_READ_AHEAD_KIB))
            except OSError:
                return  # not root: slower, not wrong


async def _serve(catalog: Catalog, ready: Callable[[], None], binder: Binder | None) -> None:
    async with trio.open_nursery() as nursery:

        async def stop_on_signal() -> None:
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as caught:
                async for _ in caught:
                    catalog.cancel()
                    pyfuse3.terminate()
                    return

        async def bind(binder: Binder) -> None:
            await binder.keep(catalog, ready)
            if binder.error:
                pyfuse3.terminate()

        nursery.start_soon(stop_on_signal)
        if binder:
            nursery.start_soon(bind, binder)
        else:
            ready()
        await pyfuse3.main()
        catalog.cancel()
        nursery.cancel_scope.cancel()


def serve(catalog: Catalog, mountpoint: str, manner: Manner, ready: Callable[[], None]) -> None:
    """Mount, call ``ready``, serve until unmounted or told to stop, leave nothing mounted.

    ``mountpoint`` is absolute and without symbolic links.
    """
    filesystem = Filesystem(
        catalog,
        strict=manner.strict,
        direct_io=manner.direct_io,
        uid=os.getuid(),
        gid=os.getgid(),
    )
    binder = Binder(manner.bind, mountpoint) if manner.bind else None
    try:
        pyfuse3.init(filesystem, mountpoint, _fuse_options(manner))
    except RuntimeError as error:
        raise SourceError(
            f"{mountpoint}: cannot mount ({error}); oldmemfs --check says what is missing"
        ) from error
    try:
        if os.getuid() == 0:
            hide_process()
        if not manner.direct_io:
            _set_read_ahead(mountpoint)
        trio.run(_serve, catalog, ready, binder)
        if binder and binder.error:
            raise binder.error
    finally:
        if binder:
            binder.unbind()
        pyfuse3.close(unmount=True)
        if binder:
            binder.end()
