# SPDX-License-Identifier: MIT
"""Searching a raw image for the header blob, for when elfcorehdr= is not known.

Every multiple of 1 KiB is looked at: each program that writes the blob aligns it to that or more. A
blob counts if its header can be parsed and its PT_NOTEs hold VMCOREINFO.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..elf.header import PT_NOTE, parse_header
from ..elf.notes import MAX_COUNT, vmcoreinfo_text
from ..elf.procvmcore import MAX_NOTE, note_size
from ..errors import FaultError, FormatError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..elf.header import Phdr
    from ..maps.memory import Memory

_ALIGN = 1 << 10
_CHUNK = 16 << 20
_MAX_CANDIDATES = 4096
# What is read of all candidates together: a hostile image may be full of them.
_MAX_READ = 1 << 26  # bytes of headers and notes
_MAX_NOTES = 4 * MAX_COUNT  # notes


def _candidates(memory: Memory) -> Iterator[int]:
    """The addresses, multiples of 1 KiB, of the first ``_MAX_CANDIDATES`` ELF magics."""
    found = 0
    for whole in memory.ranges:
        for start in range(whole.start, whole.end, _CHUNK):
            size = min(_CHUNK, whole.end - start)
            try:
                data = memory.read(start, size)
            except FaultError:
                continue
            first = -start % _ALIGN
            heads = data[first::_ALIGN]
            i = heads.find(b"\x7f")
            while i >= 0:
                at = first + i * _ALIGN
                if data.startswith(b"\x7fELF", at):
                    found += 1
                    yield start + at
                    if found == _MAX_CANDIDATES:
                        return
                i = heads.find(b"\x7f", i + 1)


class _Reader:
    """Reads of a memory; raises ``UsageError`` beyond ``_MAX_READ`` bytes or ``_MAX_NOTES``."""

    def __init__(self, memory: Memory, where: str) -> None:
        self._memory, self._where = memory, where
        self._left = _MAX_READ
        self._notes = _MAX_NOTES

    def __call__(self, phys: int, size: int) -> bytes:
        self._left -= size
        if self._left < 0:
            raise self._too_much()
        return self._memory.read(phys, size)

    def notes(self, phdr: Phdr, big_endian: bool) -> bytes:
        """The bytes of the notes in a PT_NOTE."""
        data = self(phdr.offset, phdr.memsz)
        size, count = note_size(data, big_endian, packed=False, most=self._notes)
        self._notes -= count
        if self._notes < 0:
            raise self._too_much()
        return data[:size]

    def _too_much(self) -> UsageError:
        return UsageError(
            f"{self._where}: too much in it looks like a crash dump's ELF header; "
            "give -o elfcorehdr=ADDRESS (from the capture kernel's command line)"
        )


def _crash_time(read: _Reader, address: int) -> bool | None:
    """Whether the blob at ``address`` has CRASHTIME in its VMCOREINFO; None if it is no blob.

    The kernel adds CRASHTIME when it crashes, so a blob without it was only prepared.
    """
    try:
        header = parse_header(read, address, "")
        notes = [
            read.notes(phdr, header.big_endian)
            for phdr in header.phdrs
            if phdr.type == PT_NOTE and phdr.memsz <= MAX_NOTE
        ]
    except (FaultError, FormatError):
        return None
    text = vmcoreinfo_text(b"".join(notes), header.big_endian)
    return b"CRASHTIME=" in text if text else None


def find(memory: Memory, where: str) -> int:
    """The physical address of the blob in ``memory``; ``where`` is for messages.

    If there are several, those with CRASHTIME count; copies of the same blob count as one.

    Raises ``UsageError`` if there is none, or if there are several that differ.
    """
    read = _Reader(memory, where)
    found = {
        a: crashed for a in _candidates(memory) if (crashed := _crash_time(read, a)) is not None
    }
    best = [a for a, crashed in found.items() if crashed] or list(found)
    if not best:
        raise UsageError(
            f"{where}: no crash dump's ELF header in it; give -o elfcorehdr=ADDRESS (from the "
            "capture kernel's command line) or a file, and check -o ram= or -o machine="
        )
    if len({_blob(memory, a) for a in best}) > 1:
        listed = ", ".join(f"{a:#x}" for a in best)
        raise UsageError(f"{where}: several ELF headers of crashes in it: give one of "
                         f"-o elfcorehdr={listed}")  # fmt: skip
    return best[0]


def _blob(memory: Memory, address: int) -> bytes:
    return memory.read(address, parse_header(memory.read, address, "").size)
