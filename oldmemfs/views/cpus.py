# SPDX-License-Identifier: MIT
"""`cpu/N/registers` and `cpu/N/prstatus`: the registers that the crash saved for each CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..elf import registers
from ..elf.notes import notes
from ..kernel.arch import machine
from ..maps.layout import Layout
from .catalog import View

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..dump import Dump


class _Cpu:
    """One CPU. Small, because a machine can have thousands."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def registers(self, dump: Dump) -> Layout:
        header = dump.header
        found = list(notes(dump.cpus[self.number], header.big_endian))
        drawn = Layout()
        drawn.bytes(
            registers.as_text(machine(header.machine).status, header.big_endian, found).encode(),
            "text",
        )
        return drawn

    def prstatus(self, dump: Dump) -> Layout:
        """The raw ELF note with its header and name; empty for a CPU that was offline."""
        data, drawn = dump.cpus[self.number], Layout()
        for note in notes(data, dump.header.big_endian):
            drawn.bytes(data[: note.end], "note")
            break
        return drawn


def make_views(dump: Dump) -> Iterator[View]:
    """Two files for each CPU that has a note, even an empty one."""
    for number in range(len(dump.cpus)):
        cpu = _Cpu(number)
        yield View(f"cpu/{number}/registers", cpu.registers, "cat")
        yield View(f"cpu/{number}/prstatus", cpu.prstatus, "programs: an ELF note")
