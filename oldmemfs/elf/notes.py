# SPDX-License-Identifier: MIT
"""ELF notes: name, type, descriptor, one after the other, each part padded to four bytes.

::

    |namesz|descsz|type|name....|desc..........|namesz|descsz|type|name....|desc|0  0  0|

The list ends at a note with an empty name (as in /proc/vmcore), or where the next note does not
fit. At most ``MAX_COUNT`` notes are read: kernels are built for at most 8192 processors, and each
of them has fewer than 20 notes.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from ..ranges import round_up

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HEADER_SIZE = 12
MAX_COUNT = 1 << 18
NT_PRSTATUS = 1
NT_PRFPREG = 2
_ALIGN = 4
_MAX_CPUS = 1 << 14  # processors; kernels are built for at most 8192
_MAX_PARTS = 1 << 18  # notes of all processors together


class Note(NamedTuple):
    """A note at ``[offset, end)`` of its segment, padding included; ``name`` without the NUL."""

    name: bytes
    type: int
    desc: bytes
    offset: int
    end: int


def notes(data: bytes, big_endian: bool) -> Iterator[Note]:
    """The notes in the bytes of one PT_NOTE, at most ``MAX_COUNT``. Never raises."""
    header = struct.Struct(">3I" if big_endian else "<3I")
    offset = 0
    for _ in range(MAX_COUNT):
        if offset + HEADER_SIZE > len(data):
            return
        name_size, desc_size, kind = header.unpack_from(data, offset)
        name_at = offset + HEADER_SIZE
        desc_at = name_at + round_up(name_size, _ALIGN)
        if not name_size or desc_at + desc_size > len(data):
            return
        name = data[name_at : name_at + name_size].split(b"\0", 1)[0]
        end = desc_at + round_up(desc_size, _ALIGN)
        yield Note(name, kind, data[desc_at : desc_at + desc_size], offset, min(end, len(data)))
        offset = end


def vmcoreinfo_text(data: bytes, big_endian: bool) -> bytes:
    """The text of the first VMCOREINFO note in ``data``; empty if there is none."""
    for note in notes(data, big_endian):
        if note.name == b"VMCOREINFO":
            return note.desc
    return b""


def processors(segments: Iterable[bytes], big_endian: bool) -> tuple[bytes, ...]:
    """The notes of each processor, as bytes; ``segments`` are the bytes of each PT_NOTE.

    A processor's notes start with its NT_PRSTATUS; more notes named CORE or LINUX may follow (s390x
    has some). An empty PT_NOTE is a processor that was offline: its bytes are empty. VMCOREINFO
    belongs to no processor. Notes beyond ``_MAX_PARTS`` and processors beyond ``_MAX_CPUS`` are
    ignored.
    """
    found: list[list[bytes]] = []
    left = _MAX_PARTS
    for segment in segments:
        if not segment:
            found.append([])
        for note in notes(segment, big_endian):
            left -= 1
            if left < 0 or len(found) > _MAX_CPUS:
                break
            if note.name == b"CORE" and note.type == NT_PRSTATUS:
                found.append([segment[note.offset : note.end]])
            elif found and found[-1] and note.name in (b"CORE", b"LINUX"):
                found[-1].append(segment[note.offset : note.end])
    return tuple(b"".join(parts) for parts in found[:_MAX_CPUS])
