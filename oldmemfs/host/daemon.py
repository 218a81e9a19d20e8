"""Leaving the terminal: the parent exits 0 only when the child serves."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import sys
from typing import TYPE_CHECKING

from .files import read_text
from .notify import SystemLog

if TYPE_CHECKING:
    from collections.abc import Callable

_INITRD = "/etc/initrd-release"
_ARG_START = 48  # the field of /proc/self/stat: where the command line stands in memory


def detach() -> Callable[[], None]:
    """Fork; only the child returns, with what it must call once it serves.

    Until that call the child keeps the terminal for its errors; if it ends before, the parent
    ends with its exit status. No thread and no trio loop may run yet.
    """
    told, tell = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        os.close(tell)
        if os.read(told, 1):
            os._exit(0)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            os.write(2, f"oldmemfs: ended by signal {-code} before it was mounted\n".encode())
        os._exit(code if code > 0 else 1)
    os.close(told)
    os.setsid()

    def ready() -> None:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.close(null)
        os.chdir("/")
        logging.basicConfig(handlers=[SystemLog()], level=logging.WARNING, force=True)
        os.write(tell, b"1")
        os.close(tell)

    return ready


def outlive_others() -> None:
    """Let the kernel end other processes first when memory runs out: a copy can be made again.

    Without the right to ask (root has it), nothing changes.
    """
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("-1000")


def survive_switch_root(initrd: str = _INITRD) -> bool:
    """In an initramfs, ask systemd not to kill this process when the real root takes over.

    It spares who has '@' as the first byte of the command line (systemd.io/ROOT_STORAGE_DAEMONS).
    True where ``follow_root`` is wanted after every change of the mount table.
    """
    if not os.path.exists(initrd):
        return False
    numbered = (read_text("/proc/self/stat") or "").rpartition(")")[2].split()
    ctypes.memset(int(numbered[_ARG_START - 3]), ord("@"), 1)
    return True


def follow_root() -> None:
    """Take the real root, which switch-root mounts over the initramfs that this process stays in.

    ".." of the root is what is mounted over it; it is the root itself when nothing is.
    """
    os.chroot("/..")
    os.chdir("/")
