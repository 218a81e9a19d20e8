# SPDX-License-Identifier: MIT
"""A machine that has crashed: its memory, and what its capture kernel wrote to disks."""

from __future__ import annotations

import contextlib
import struct
import tarfile
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from oldmemfs.options import Options
from oldmemfs.sources import open_source

from ..artifacts import header_address
from ..guest.referees import Bitmap, bitmaps, dump_head

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from oldmemfs.dump import Dump

    from ..machine import Machine
    from .targets import Target

MIB = 1 << 20
FLAGS_MIB = 16  # for one reading of /proc/kpageflags: 8 GiB in pages of 4 KiB


@dataclass(frozen=True)
class Crashed:
    """A machine that has crashed, and what its capture kernel wrote."""

    target: Target
    machine: Machine
    seconds: float

    @cached_property
    def report(self) -> dict[str, bytes]:
        """The small files."""
        found = {}
        with (
            contextlib.suppress(tarfile.ReadError),  # nothing was written
            tarfile.open(self.machine.work / "report") as archive,
        ):
            for member in archive:
                if file := archive.extractfile(member):
                    found[member.name.removeprefix("./")] = file.read()
        return found

    def text(self, name: str) -> str:
        return self.report[name].decode(errors="replace").strip()

    @property
    def size(self) -> int:
        """Of /proc/vmcore."""
        return int(self.text("size"))

    @property
    def core(self) -> Path:
        return self.machine.work / "core"

    def header(self) -> int:
        """The address of the ELF header that the capture kernel was told."""
        if told := self.report.get("elfcorehdr"):
            return int(struct.unpack_from(">Q", told)[0])
        return header_address(self.text("cmdline"))

    def bitmaps(self, level: int) -> tuple[Bitmap, Bitmap]:
        """What is memory, and what makedumpfile keeps of it at a level."""
        target = self.target
        with (self.machine.work / "dumps").open("rb") as file:
            file.seek(target.levels.index(level) * slot(target) * MIB)
            return bitmaps(dump_head(file), 428 if target.word == 8 else 416)

    def options(self, *, searched: bool = False) -> Options:
        header = None if searched else self.header()
        return Options(source="raw", machine=self.target.machine, elfcorehdr=header)

    @cached_property
    def dump(self) -> Dump:
        return open_source(str(self.machine.ram), self.options())

    def mounted(self) -> AbstractContextManager[Path]:
        """The machine's memory, as oldmemfs on the host gives it."""
        words = [f"elfcorehdr={self.header():#x}"]
        if self.target.machine:
            words.append(f"machine={self.target.machine}")
        return self.machine.mounted(*words)


def slot(target: Target) -> int:
    """MiB of disk for one dump."""
    return target.memory_mib + 64
