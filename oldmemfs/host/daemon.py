# SPDX-License-Identifier: MIT
"""The daemon process: going to the background, the OOM killer, and the change of the root."""

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
_ARG_START = 48  # field of /proc/PID/stat (proc(5)): the address of the command line in memory


def detach() -> Callable[[], None]:
    """Fork. Only the child returns; it gets ``ready``, which it calls when the mount works.

    ``ready`` detaches the child from the terminal and lets the parent exit with status 0. If the
    child exits before that, the parent exits with the child's status (1 if a signal killed it), so
    that a failed mount fails the command. Until ``ready`` the child prints errors on the terminal.

    Call it before any thread or trio loop runs: fork copies only the calling thread.
    """
    told, tell = os.pipe()  # the child writes one byte to ``tell`` when the mount works
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
    """Exclude this process from the OOM killer (oom_score_adj -1000).

    When memory runs out, the kernel then kills another process, for instance the copy that is
    running: the copy can be started again, the mount cannot. Needs CAP_SYS_RESOURCE; without it
    nothing changes.
    """
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("-1000")


def survive_switch_root(initrd: str = _INITRD) -> bool:
    """In an initramfs, keep systemd from killing this process when it switches to the real root.

    systemd spares processes whose command line starts with '@' (systemd.io/ROOT_STORAGE_DAEMONS),
    so the first byte of ours is overwritten. Returns True in an initramfs (``initrd`` exists): the
    caller must then call ``follow_root`` after every change of the mount table.
    """
    if not os.path.exists(initrd):
        return False
    numbered = (read_text("/proc/self/stat") or "").rpartition(")")[2].split()
    ctypes.memset(int(numbered[_ARG_START - 3]), ord("@"), 1)
    return True


def follow_root() -> None:
    """Change this process's root to the file system that is mounted over it, if there is one.

    switch-root mounts the real root over the initramfs, and a process that is not told keeps the
    old one. The path "/.." is what is mounted over the root, or the root itself if nothing is.
    """
    os.chroot("/..")
    os.chdir("/")
