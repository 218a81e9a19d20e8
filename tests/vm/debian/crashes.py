# SPDX-License-Identifier: MIT
"""A crash of an installed Debian: its disk, its memory and its console."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..machine import Machine
from ..tools import HostError, need, run
from .system import copy_tree, kernel_release

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager


_DISK_MIB = 2048


@dataclass(frozen=True, slots=True)
class Crashed:
    """What is left: the disk, the machine's memory and its console."""

    machine: Machine
    disk: Path

    def console(self) -> str:
        """All that the two kernels said."""
        return self.machine.console.read_text(errors="replace")

    def header(self) -> str:
        """Where kexec put the ELF header, as the capture kernel was told."""
        found = re.findall(r"Command line:.* elfcorehdr=(\w+)", self.console())
        if not found:
            raise HostError(f"no capture kernel was started; console:\n{self.machine.tail()}")
        return str(found[-1])

    def mounted(self) -> AbstractContextManager[Path]:
        """The machine's memory, as oldmemfs on the host gives it."""
        return self.machine.mounted(f"elfcorehdr={self.header()}")

    def fetch(self, inside: str) -> Path:
        """A folder of the machine's disk, copied out."""
        target = self.machine.work / "fetched"
        target.mkdir()
        run([need("debugfs"), "-R", f"rdump {inside} {target}", self.disk])
        return target / Path(inside).name


def crash(
    work: Path,
    installed: Path,
    set_up: Callable[[Path], None],
    *,
    devices: tuple[str, ...] = (),
    memory_mib: int = 768,
) -> Crashed:
    """Set up a copy, boot, panic, let it save its dump and reboot, which ends the machine."""
    root, disk = work / "root", work / "disk.img"
    copy_tree(installed, root)
    set_up(root)
    run([need("mke2fs"), "-q", "-t", "ext4", "-d", root, disk, f"{_DISK_MIB}M"])
    release = kernel_release(root)
    kernel, initrd = work / f"vmlinuz-{release}", work / f"initrd.img-{release}"
    for path in (kernel, initrd):
        shutil.copyfile(root / "boot" / path.name, path)
    shutil.rmtree(root)
    drive = ("-drive", f"file={disk},if=virtio,format=raw,cache=unsafe")
    machine = Machine(work, memory_mib, 2, "max", (*drive, *devices))
    # systemd's 90 seconds are too few on a busy host.
    patience = "systemd.default_timeout_start_sec=900 systemd.default_device_timeout_sec=900"
    command = f"root=/dev/vda rw console=ttyS0 crashkernel=256M {patience}"
    machine.run(kernel, initrd, command, timeout=1800)
    return Crashed(machine, disk)
