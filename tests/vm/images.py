# SPDX-License-Identifier: MIT
"""The two initramfs images: the capture kernel's, and the first kernel's with that one inside."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from oldmemfs.commands import payload

from .tree import Tree

if TYPE_CHECKING:
    from .kernels import Kernel

_GUEST = Path(__file__).parent / "guest"
_APPLETS = ("sh", "dd", "dmesg", "poweroff")

_INIT = """#!/bin/sh
export PATH=/usr/bin HOME=/root
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev
exec </dev/console >/dev/console 2>&1
{more}
exec {program}
"""
_PYTHON = "/usr/lib/oldmemfs/python -m guest."
_CAPTURE = "if [ -e /fuse.ko ]; then busybox insmod /fuse.ko; fi"
_FIRST = """busybox mount -t tmpfs tmpfs /run
busybox mkdir /cache
busybox mount -t ramfs ramfs /cache"""


def build(kernel: Kernel, makedumpfile: Path | None, work: Path, *, capture_command: str) -> Path:
    """Make both images in a work folder; the answer is the first kernel's.

    Without makedumpfile the capture kernel has the payload and busybox, and a script copies.
    """
    base = Tree(work / "base")
    base.busybox(_APPLETS)
    payload.gather(base, also=("guest.first", "guest.capture"), paths=(_GUEST.parent,))

    first = base.copy_of(work / "first")
    first.program("kexec")
    capture = _capture(base, kernel, makedumpfile, work) if makedumpfile else _small(kernel, work)
    first.write("capture.img", capture.read_bytes())
    first.write("capture.cmdline", capture_command)
    first.write("vmlinuz", kernel.vmlinuz.read_bytes())
    first.write("init", _INIT.format(more=_FIRST, program=f"{_PYTHON}first"), 0o755)
    image = work / "first.img"
    first.pack(image, "cat")
    shutil.rmtree(first.root)
    return image


def _small(kernel: Kernel, work: Path) -> Path:
    tree = Tree(work / "capture")
    tree.busybox(_APPLETS)
    payload.gather(tree)
    tree.write("small.sh", (_GUEST / "small.sh").read_bytes())
    for name in ("mount", "umount"):
        tree.program(name)
    return _pack_capture(tree, kernel, work, "sh /small.sh")


def _capture(base: Tree, kernel: Kernel, makedumpfile: Path, work: Path) -> Path:
    tree = base.copy_of(work / "capture")
    for name in ("mount", "umount", "vmcore-dmesg"):
        tree.program(name)
    for path in makedumpfile.iterdir():  # beside the libraries of the rest: it has its own
        tree.write(f"oracle/{path.name}", path.read_bytes(), 0o755)
    return _pack_capture(tree, kernel, work, f"{_PYTHON}capture")


def _pack_capture(tree: Tree, kernel: Kernel, work: Path, program: str) -> Path:
    fuse = kernel.module("fuse")
    if fuse is not None:
        tree.write("fuse.ko", fuse)
    tree.write("init", _INIT.format(more=_CAPTURE, program=program), 0o755)
    image = work / "capture.img"
    tree.pack(image, "zstd -q -6 -T0 -c")
    shutil.rmtree(tree.root)
    return image
