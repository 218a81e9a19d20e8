"""`cpu/N/registers` and `cpu/N/prstatus`: what the crash noted of each processor."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from .. import registers
from ..layout import Layout
from ..notes import notes
from ..view import View

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..dump import Dump


def _registers(number: int, dump: Dump) -> Layout:
    header = dump.header
    found = list(notes(dump.cpus[number], header.big_endian))
    drawn = Layout()
    drawn.bytes(registers.as_text(header.machine, header.big_endian, found).encode(), "registers")
    return drawn


def _prstatus(number: int, dump: Dump) -> Layout:
    """The raw note, header and name included; nothing of a processor that was offline."""
    drawn = Layout()
    for note in notes(dump.cpus[number], dump.header.big_endian):
        drawn.bytes(dump.cpus[number][: note.end], "note")
        break
    return drawn


def of(dump: Dump) -> Iterator[View]:
    """Two files for each processor that has a note, be it an empty one."""
    for number in range(len(dump.cpus)):
        yield View(f"cpu/{number}/registers", partial(_registers, number), "cat")
        yield View(f"cpu/{number}/prstatus", partial(_prstatus, number), "programs: an ELF note")
