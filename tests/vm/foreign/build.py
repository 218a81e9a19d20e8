# SPDX-License-Identifier: MIT
"""Two initramfs are built, the machine is started, and it crashes."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .. import kernels, programs
from ..cache import filling
from ..machine import Machine
from ..tools import HostError, find
from ..tree import Tree
from .crashed import FLAGS_MIB, MIB, Crashed, slot
from .targets import NOTHING

if TYPE_CHECKING:
    from .targets import Target

_GUEST = Path(__file__).parent
_DISKS = ("report", "core", "dumps", "flags")
_MODULES = ("virtio_pci", "virtio_blk")


def lacking(target: Target) -> str:
    """The program that this host lacks; empty if it has all."""
    for program, package in ((target.emulator, target.package), ("cpio", "cpio")):
        if find(program) is None:
            return f"{program} ({package})"
    return ""


def crash(target: Target, work: Path) -> Crashed:
    """Build the images in a folder, run the machine in it until it has written all."""
    with filling():
        kernel = kernels.fetch(target.series, arch=target.arch, flavour=target.flavour)
        initrd = _build(target, kernel, work)
    sizes = {"report": 64, "core": slot(target), "dumps": slot(target) * len(target.levels),
             "flags": 2 * FLAGS_MIB}  # fmt: skip
    devices: list[str] = []
    for name in _DISKS:
        disk = work / name
        with disk.open("wb") as file:
            file.truncate(sizes[name] * MIB)
        devices += ["-drive", f"file={disk},format=raw,if=none,cache=unsafe,id={name}"]
        devices += ["-device", f"virtio-blk-pci,drive={name}{target.disk}"]
    machine = Machine(
        work, target.memory_mib, target.cpus, target.cpu, tuple(devices), target.emulator,
        target.board,
    )  # fmt: skip
    began = time.monotonic()
    command = f"console={target.console} panic=-1 crashkernel={target.crashkernel}"
    machine.run(kernel.vmlinuz, initrd, command, timeout=1800)
    crashed = Crashed(target, machine, time.monotonic() - began)
    if "end" not in crashed.report:
        raise HostError(f"the capture kernel did not come to its end:\n{machine.tail()}")
    if target.copy != NOTHING:
        os.truncate(crashed.core, crashed.size)
    return crashed


def _build(target: Target, kernel: kernels.Kernel, work: Path) -> Path:
    suite = kernels.SUITES[target.series]
    tools = programs.fetch(
        target.tools or suite, target.arch, "kexec-tools", ("kexec", "vmcore-dmesg")
    )
    base = Tree(work / "base")
    base.write("init", (_GUEST / "init.sh").read_text(), 0o755)
    shell = programs.fetch(suite, target.arch, "busybox-static", ("busybox",))
    base.write("bin/busybox", (shell / "busybox").read_bytes(), 0o755)
    for path in tools.iterdir():
        base.write(f"tools/{path.name}", path.read_bytes(), 0o755)
    for number, module in enumerate(_modules(kernel)):
        base.write(f"modules/{number:02}", module)

    capture = base.copy_of(work / "capture")
    if target.oracle:
        made = programs.fetch(target.oracle, target.arch, "makedumpfile", ("makedumpfile",))
        for path in made.iterdir():
            capture.write(f"oracle/{path.name}", path.read_bytes(), 0o755)
    levels = " ".join(map(str, target.levels))
    capture.write(
        "settings",
        f"copy='{target.copy}'\nmend='{target.mend}'\nrestore='{target.restore}'\n"
        f"levels='{levels}'\nslot_mib={slot(target)}\n",
    )
    capture.write("life", (_GUEST / "capture.sh").read_text())
    capture.pack(work / "capture.img", "gzip -1c")

    command = f"console={target.console} nr_cpus=1 maxcpus=1 reset_devices panic=-1"
    base.write("capture.img", (work / "capture.img").read_bytes())
    base.write("vmlinuz", kernel.vmlinuz.read_bytes())
    base.write(
        "settings",
        f"loader={target.loader}\ncapture='{command}'\nprepare='{target.prepare}'\n",
    )
    base.write("life", (_GUEST / "first.sh").read_text())
    image = work / "first.img"
    base.pack(image, "cat")
    for tree in (base, capture):
        shutil.rmtree(tree.root)
    return image


def _modules(kernel: kernels.Kernel) -> list[bytes]:
    """The modules for disks, each after those that it needs."""
    found: dict[str, bytes] = {}

    def add(name: str) -> None:
        data = None if name in found else kernel.module(name)
        if data is not None:
            needs = re.search(rb"\0depends=([^\0]*)\0", data)
            for other in (needs[1].decode() if needs else "").split(","):
                if other:
                    add(other.replace("-", "_"))
            found[name] = data

    for name in _MODULES:
        add(name)
    return list(found.values())
