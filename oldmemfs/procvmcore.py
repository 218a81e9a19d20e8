"""Making a /proc/vmcore: how a capture kernel turns the header blob into a file.

::

    0        header   notes      LOAD 0          LOAD 1               st_size
    |-- HS -----------|-- NS ----|-- pages ------|-- pages -----------|

All parts are rounded to the *capture* kernel's page. The notes of all PT_NOTEs are merged into
one; a PT_LOAD's first and last page are whole pages of old memory, whatever its bounds
(fs/proc/vmcore.c since 3.11; before that everything was packed without rounding).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .elfcore import PT_LOAD, PT_NOTE, Header, Phdr, with_phdrs
from .errors import FaultError, FormatError
from .layout import Layout
from .ranges import Range, round_down, round_up

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .memory import Memory

MAX_NOTE = 4 << 20  # the largest buffer that the kernel would get for one PT_NOTE
MAX_NOTES = 1 << 28  # of all of them together, whatever is in them
MAX_FILE = 1 << 62  # what stat and every reader can count
_WORD = 2**64


@dataclass(frozen=True, slots=True)
class Flavour:
    """What differs between the kernels that make the file."""

    page_size: int  # of the capture kernel
    note_align: int  # p_align of the merged PT_NOTE: 4 since 6.5 (60592fb6b67c), 0 before
    packed: bool = False  # the layout before 3.11

    @classmethod
    def of(cls, release: tuple[int, ...], page_size: int) -> Flavour:
        """The flavour of a capture kernel of this version."""
        return cls(page_size, 4 if release >= (6, 5) else 0, release < (3, 11))


@dataclass(frozen=True, slots=True)
class Merged:
    """The header of the file to be, its notes, and where each PT_LOAD's pages come from."""

    header: Header
    notes: bytes
    pages: tuple[Range, ...]  # by address of the memory that the blob's p_offset speaks of
    flavour: Flavour
    surplus: int  # packed only: the sizes of slots that are no PT_LOAD count, but hold nothing

    def layout(self) -> Layout:
        """The whole file."""
        unit = 1 if self.flavour.packed else self.flavour.page_size
        layout = Layout()
        for data, label in ((self.header.pack(), "ELF header"), (self.notes, "notes")):
            layout.bytes(data, label)
            layout.zero(-len(data) % unit, "padding")
        for r in self.pages:
            layout.memory(r.start, r.size, "PT_LOAD")
        layout.zero(self.surplus, "nothing")
        return layout


def note_size(data: bytes, big_endian: bool, packed: bool) -> int:
    """Bytes of the notes in a PT_NOTE's buffer: up to the first one with an empty name.

    A note that would not fit is dropped with all that follow. Before 3.11 it was not: sizes were
    rounded in 32 bits and the last note might overrun the buffer, and the result be larger.
    """
    row = struct.Struct(">II" if big_endian else "<II")
    real = 0
    while real + 12 <= len(data):
        name, desc = row.unpack_from(data, real)
        if name == 0:
            break
        size = 12 + round_up(name, 4) + round_up(desc, 4)
        if packed:
            size = 12 + round_up(name, 4) % 2**32 + round_up(desc, 4) % 2**32
        elif real + size > len(data):
            break
        real += size
    return real


def _one_note(phdr: Phdr, memory: Memory, big_endian: bool, packed: bool, where: str) -> bytes:
    def refuse(why: str) -> FormatError:
        message = f"{where}: PT_NOTE of {phdr.memsz:#x} bytes at {phdr.offset:#x}: {why}"
        return FormatError(f"{message}; -o notes=skip goes on without it")

    if phdr.memsz > MAX_NOTE:
        raise refuse(f"more than {MAX_NOTE:#x} bytes, which no kernel would read")
    try:
        data = memory.read(phdr.offset, phdr.memsz)
        size = note_size(data, big_endian, packed)
        if size > MAX_NOTE:
            raise refuse(f"its notes claim {size:#x} bytes")
        return data[:size] if size <= len(data) else memory.read(phdr.offset, size)
    except FaultError as error:
        raise refuse(str(error)) from error


def read_notes(
    header: Header, memory: Memory, packed: bool, where: str, skip_bad: bool
) -> tuple[dict[int, bytes], list[str]]:
    """The notes of each PT_NOTE by its place in the header, and warnings.

    Raises ``FormatError`` for what no capture kernel survives (no PT_NOTE, no note in any, a
    buffer that is too large or cannot be read), unless ``skip_bad``.
    """
    notes: dict[int, bytes] = {}
    warnings: list[str] = []
    total = 0
    for i, phdr in enumerate(header.phdrs):
        if phdr.type != PT_NOTE:
            continue
        total += min(phdr.memsz, MAX_NOTE)
        if total > MAX_NOTES:
            raise FormatError(f"{where}: the PT_NOTEs hold more than {MAX_NOTES:#x} bytes")
        try:
            notes[i] = _one_note(phdr, memory, header.big_endian, packed, where)
        except FormatError as error:
            if not skip_bad:
                raise
            warnings.append(str(error))
            notes[i] = b""
        if phdr.memsz == 0:
            warnings.append(f"{where}: program header {i} is a PT_NOTE of size 0")
    if skip_bad:
        return notes, warnings
    if not notes:
        raise FormatError(f"{where}: no PT_NOTE: a capture kernel would crash on this header; "
                          "-o notes=skip goes on without notes")  # fmt: skip
    if not any(notes.values()):
        raise FormatError(f"{where}: all PT_NOTEs are empty: a capture kernel gives no vmcore; "
                          "-o notes=skip goes on without notes")  # fmt: skip
    return notes, warnings


def merge(header: Header, notes: dict[int, bytes], flavour: Flavour, where: str) -> Merged:
    """The file's header, notes and pages.

    The kernel takes it that the PT_NOTEs come first: it drops as many program headers from the
    front as there are PT_NOTEs, whatever they are.
    """
    merged = b"".join(notes.values())
    kept = [
        p._replace(memsz=len(notes[i])) if i in notes else p for i, p in enumerate(header.phdrs)
    ][len(notes) :]
    phdr_size = header.phdr_size
    head = len(header.ehdr) + phdr_size * (len(kept) + 1)
    page = 1 if flavour.packed else flavour.page_size
    at = round_up(head, page) + round_up(len(merged), page)
    note = Phdr(
        PT_NOTE, 0, round_up(head, page), 0, 0, len(merged), len(merged), flavour.note_align
    )
    slots = [note]
    pages: list[Range] = []
    for phdr in kept:
        if phdr.type == PT_LOAD:
            start = round_down(phdr.offset, page)
            end = round_up(phdr.offset + phdr.memsz, page)
            pages.append(Range(start, end))
            phdr = phdr._replace(offset=at + (phdr.offset - start))
            at += end - start
        slots.append(phdr)
    surplus = sum(p.memsz for p in kept if p.type != PT_LOAD) if flavour.packed else 0
    if at + surplus > MAX_FILE:
        raise FormatError(f"{where}: the PT_LOADs add up to {at + surplus:#x} bytes")
    return Merged(with_phdrs(header, slots), merged, tuple(pages), flavour, surplus)


def clamp(
    header: Header, limit: int, known: Iterable[Range] | None, where: str
) -> tuple[Header, list[str]]:
    """Cut PT_LOADs that cannot be memory down to what can.

    A PT_LOAD that wraps or ends above ``limit`` is garbage (arm64 kexec without _text in
    /proc/kallsyms writes one, and reading /proc/vmcore then takes the capture kernel down): it
    keeps what it shares with ``known`` memory, else with the sane PT_LOADs; that may be nothing.
    """

    def sane(p: Phdr) -> bool:
        return p.offset + p.memsz <= limit and p.paddr + p.memsz <= _WORD

    if all(sane(p) for p in header.loads):
        return header, []
    if known is None:
        known = [Range(p.offset, p.offset + p.memsz) for p in header.loads if sane(p)]
    known = list(known)
    warnings: list[str] = []
    phdrs: list[Phdr] = []
    for i, p in enumerate(header.phdrs):
        if p.type == PT_LOAD and not sane(p):
            end = max((k.end for k in known if k.start <= p.offset < k.end), default=p.offset)
            size = min(p.memsz, end - p.offset)
            warnings.append(
                f"{where}: program header {i} cannot be memory: PT_LOAD of {p.memsz:#x} bytes at "
                f"{p.offset:#x}; {f'its first {size:#x} bytes are' if size else 'it is not'} served"
            )
            p = p._replace(filesz=size, memsz=size)
        phdrs.append(p)
    return with_phdrs(header, phdrs), warnings
