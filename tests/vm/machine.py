# SPDX-License-Identifier: MIT
"""One emulated machine: started, watched until it switches itself off, and its words collected."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .tools import HostError, need, run

if TYPE_CHECKING:
    from collections.abc import Iterator

# QEMU 7.2 now and then leaves what is no flags in EFLAGS after a cmpxchg16b; a trap flag among them
# is a warning of the kernel's (exc_debug_kernel, seen in 6.12's __kmalloc_noprof).
_WITHOUT = {"qemu-system-x86_64": ",-cx16"}
# All CPUs of these share a thread. With one each, QEMU 7.2 may run code that another CPU is
# changing: now and then Linux 7.2 dies of an int3 at its boot.
_ONE_THREAD = ("qemu-system-x86_64", "qemu-system-i386")


@dataclass(frozen=True, slots=True)
class Machine:
    """What is emulated. Its memory stays behind as the file `ram`."""

    work: Path
    memory_mib: int
    cpus: int
    cpu_model: str
    devices: tuple[str, ...] = ()  # more of QEMU's words
    emulator: str = "qemu-system-x86_64"
    board: str = "pc"

    @property
    def ram(self) -> Path:
        return self.work / "ram.img"

    @property
    def console(self) -> Path:
        return self.work / "console.log"

    @property
    def report(self) -> Path:
        return self.work / "report.jsonl"

    def run(self, kernel: Path, initrd: Path, command: str, *, timeout: float) -> None:
        """Boot and wait; too long a life is an error that tells the console's last lines."""
        cpu = self.cpu_model + _WITHOUT.get(self.emulator, "")
        accelerator = f"tcg,thread={'single' if self.emulator in _ONE_THREAD else 'multi'}"
        words = [
            need(self.emulator),
            "-nodefaults", "-display", "none", "-no-reboot",
            "-accel", accelerator, "-cpu", cpu, "-smp", str(self.cpus),
            "-m", f"{self.memory_mib}M",
            "-object",
            f"memory-backend-file,id=ram,size={self.memory_mib}M,mem-path={self.ram},share=on",
            "-machine", f"{self.board},memory-backend=ram",
            "-serial", f"file:{self.console}", "-serial", f"file:{self.report}",
            "-kernel", kernel, "-initrd", initrd, "-append", command, *self.devices,
        ]  # fmt: skip
        self.ram.unlink(missing_ok=True)
        try:
            done = subprocess.run(
                [str(word) for word in words],
                stdin=subprocess.DEVNULL, capture_output=True, text=True,
                check=False, timeout=timeout,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise HostError(f"no end after {timeout:.0f} s; console:\n{self.tail()}") from None
        if done.returncode != 0:
            raise HostError(f"qemu: exit {done.returncode}: {done.stderr.strip()}")

    @contextlib.contextmanager
    def mounted(self, *options: str) -> Iterator[Path]:
        """Its memory, as oldmemfs on the host gives it."""
        with tempfile.TemporaryDirectory(prefix="oldmemfs-host-") as folder:
            words = (self.ram, folder, "-o", ",".join(options))
            run([sys.executable, "-P", "-m", "oldmemfs", *words])
            try:
                yield Path(folder)
            finally:
                run(["umount", folder])

    def tail(self, lines: int = 40) -> str:
        """The last lines of the console."""
        text = self.console.read_text(errors="replace") if self.console.exists() else ""
        return "\n".join(text.splitlines()[-lines:])
