# SPDX-License-Identifier: MIT
"""How a capture kernel makes /proc/vmcore of the header blob (fs/proc/vmcore.c), done again here.

::

    0                 notes      LOAD 0          LOAD 1               st_size
    |-- headers ------|-- notes -|-- pages ------|-- pages -----------|

Since Linux 3.11 each part is rounded up to the *capture* kernel's page size, the notes of all
PT_NOTEs are merged into one PT_NOTE, and the first and last page of each PT_LOAD are whole pages of
old memory, also where the PT_LOAD starts or ends inside them. Before 3.11 there was no rounding:
the parts were packed.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from operator import attrgetter
from typing import TYPE_CHECKING

from ..errors import FaultError, FormatError
from ..maps.layout import Layout
from ..ranges import Range, round_down, round_up
from .header import PT_LOAD, PT_NOTE, Header, Phdr, with_phdrs
from .notes import MAX_COUNT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..maps.memory import Memory

MAX_NOTE = 4 << 20  # bytes of one PT_NOTE: the kernel's kzalloc gives no larger buffer
MAX_READ = 1 << 28  # bytes read from all PT_NOTEs together
MAX_NOTES = 1 << 24  # bytes of notes found in them; for 8192 processors kexec-tools reserves 8 MiB
MAX_FILE = 1 << 62  # bytes; below the limit of off_t
_WORD = 2**64


@dataclass(frozen=True, slots=True)
class Flavour:
    """What differs between the capture kernels that make the file."""

    page_size: int  # of the capture kernel
    note_align: int  # p_align of the merged PT_NOTE: 4 since 6.5 (60592fb6b67c), 0 before
    packed: bool = False  # the layout before 3.11

    @classmethod
    def for_release(cls, release: tuple[int, ...], page_size: int) -> Flavour:
        """The flavour of a capture kernel of version ``release``, as ``(6, 1, 0)``."""
        return cls(page_size, 4 if release >= (6, 5) else 0, release < (3, 11))


@dataclass(frozen=True, slots=True)
class Merged:
    """The file's header and notes, and the memory that each PT_LOAD's pages are read from."""

    header: Header
    notes: bytes
    pages: tuple[Range, ...]  # present physical addresses: those of p_offset in the blob
    flavour: Flavour
    surplus: int  # bytes at the end of a packed file: it counts p_memsz of all program headers

    def layout(self) -> Layout:
        """The layout of the file, over present memory."""
        unit = 1 if self.flavour.packed else self.flavour.page_size
        layout = Layout()
        for data, label in ((self.header.pack(), "ELF header"), (self.notes, "notes")):
            layout.bytes(data, label)
            layout.zero(-len(data) % unit, "padding")
        for r in self.pages:
            layout.memory(r.start, r.size, "PT_LOAD")
        layout.zero(self.surplus, "surplus")
        return layout


def note_size(
    data: bytes, big_endian: bool, packed: bool, most: int = MAX_COUNT
) -> tuple[int, int]:
    """The size in bytes and the number of the notes in a PT_NOTE, up to one with an empty name.

    Since 3.11 the kernel drops a note that does not fit into the buffer, and all notes behind it.
    Before 3.11 (``packed``) it did not: sizes were rounded in 32 bits, the last note could go
    beyond the end of the buffer, and the size returned is then larger than ``data``.

    Stops after ``most`` + 1 notes.
    """
    row = struct.Struct(">II" if big_endian else "<II")
    real = count = 0
    while real + 12 <= len(data) and count <= most:
        name, desc = row.unpack_from(data, real)
        if name == 0:
            break
        size = 12 + round_up(name, 4) + round_up(desc, 4)
        if packed:
            size = 12 + round_up(name, 4) % 2**32 + round_up(desc, 4) % 2**32
        elif real + size > len(data):
            break
        real += size
        count += 1
    return real, count


def _one_note(
    phdr: Phdr, memory: Memory, big_endian: bool, packed: bool, where: str, most: int
) -> tuple[bytes, int]:
    """The bytes of the notes in one PT_NOTE, and their number."""

    def refuse(why: str) -> FormatError:
        message = f"{where}: PT_NOTE of {phdr.memsz:#x} bytes at {phdr.offset:#x}: {why}"
        return FormatError(f"{message}; -o notes=skip continues without it")

    if phdr.memsz > MAX_NOTE:
        raise refuse(f"more than {MAX_NOTE:#x} bytes, the most that a kernel can read")
    try:
        data = memory.read(phdr.offset, phdr.memsz)
        size, count = note_size(data, big_endian, packed, most)
        if size > MAX_NOTE:
            raise refuse(f"its notes claim {size:#x} bytes")
        return data[:size] if size <= len(data) else memory.read(phdr.offset, size), count
    except FaultError as error:
        raise refuse(str(error)) from error


def read_notes(
    header: Header, memory: Memory, packed: bool, where: str, skip_bad: bool
) -> tuple[dict[int, bytes], list[str]]:
    """The notes of each PT_NOTE, by its index among the program headers; and warnings.

    Raises ``FormatError`` for headers of which a capture kernel makes no /proc/vmcore, or on which
    it crashes: no PT_NOTE, no note in any of them, a PT_NOTE that is too large or cannot be read.
    With ``skip_bad`` (-o notes=skip) these are warnings.
    """
    notes: dict[int, bytes] = {}
    warnings: list[str] = []
    to_read, to_keep, to_count = MAX_READ, MAX_NOTES, MAX_COUNT
    for i, phdr in enumerate(header.phdrs):
        if phdr.type != PT_NOTE:
            continue
        notes[i] = b""
        if min(to_read, to_keep, to_count) < 0:
            continue
        to_read -= min(phdr.memsz, MAX_NOTE)
        try:
            if to_read >= 0:
                found, count = _one_note(phdr, memory, header.big_endian, packed, where, to_count)
                to_keep -= len(found)
                to_count -= count
            if min(to_read, to_keep, to_count) < 0:
                raise FormatError(
                    f"{where}: program header {i} is one PT_NOTE too many: of all of them at most "
                    f"{MAX_READ:#x} bytes are read, and {MAX_NOTES:#x} bytes and {MAX_COUNT} notes "
                    "are taken; -o notes=skip continues without it and those after it"
                )
            notes[i] = found
        except FormatError as error:
            if not skip_bad:
                raise
            warnings.append(str(error))
        if phdr.memsz == 0:
            warnings.append(f"{where}: program header {i} is a PT_NOTE of size 0")
    if skip_bad:
        return notes, warnings
    if not notes:
        raise FormatError(f"{where}: no PT_NOTE: a capture kernel would crash on this header; "
                          "-o notes=skip continues without notes")  # fmt: skip
    if not any(notes.values()):
        raise FormatError(f"{where}: all PT_NOTEs are empty: a capture kernel makes no vmcore; "
                          "-o notes=skip continues without notes")  # fmt: skip
    return notes, warnings


def merge(header: Header, notes: dict[int, bytes], flavour: Flavour, where: str) -> Merged:
    """The file's header, notes and pages.

    The kernel assumes that the PT_NOTEs come first: with n PT_NOTEs it removes the first n program
    headers, also if some of them are PT_LOADs.

    Raises ``FormatError`` if the file would have more than ``MAX_FILE`` bytes.
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
    """The header with impossible PT_LOADs cut to the memory that exists, and a warning for each.

    A PT_LOAD is impossible if it ends above the physical address ``limit``, or wraps around 2^64.
    kexec-tools on arm64 writes one when /proc/kallsyms has no _text, and reading that part of
    /proc/vmcore crashes the capture kernel. It is cut where ``known`` memory ends; if that is None,
    where the other PT_LOADs end. It may have no bytes left then.
    """

    def sane(p: Phdr) -> bool:
        return p.offset + p.memsz <= limit and p.paddr + p.memsz <= _WORD

    if all(sane(p) for p in header.loads):
        return header, []
    if known is None:
        known = [Range(p.offset, p.offset + p.memsz) for p in header.loads if sane(p)]
    known = sorted(known)
    reach = list(accumulate((k.end for k in known), max))  # the highest end of known[0..i]
    warnings: list[str] = []
    phdrs: list[Phdr] = []
    for i, p in enumerate(header.phdrs):
        if p.type == PT_LOAD and not sane(p):
            before = bisect_right(known, p.offset, key=attrgetter("start"))
            end = reach[before - 1] if before else 0
            size = min(p.memsz, max(end - p.offset, 0))
            warnings.append(
                f"{where}: program header {i} cannot be memory: PT_LOAD of {p.memsz:#x} bytes at "
                f"{p.offset:#x}; {f'its first {size:#x} bytes are' if size else 'it is not'} served"
            )
            p = p._replace(filesz=size, memsz=size)
        phdrs.append(p)
    return with_phdrs(header, phdrs), warnings
