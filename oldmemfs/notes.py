"""ELF notes: name, type and description, one after the other."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from .ranges import round_up

if TYPE_CHECKING:
    from collections.abc import Iterator


class Note(NamedTuple):
    """One note; ``name`` without its terminator."""

    name: bytes
    type: int
    desc: bytes


def notes(data: bytes, big_endian: bool) -> Iterator[Note]:
    """The notes in ``data``, up to the first one that does not fit. An empty one is skipped."""
    row = struct.Struct(">III" if big_endian else "<III")
    at = 0
    while at + row.size <= len(data):
        name_size, desc_size, kind = row.unpack_from(data, at)
        name = at + row.size
        desc = name + round_up(name_size, 4)
        if desc + desc_size > len(data):
            return
        yield Note(data[name : name + name_size].rstrip(b"\0"), kind, data[desc : desc + desc_size])
        at = desc + round_up(desc_size, 4)


def vmcoreinfo_text(data: bytes, big_endian: bool) -> bytes:
    """The text of the VMCOREINFO note, or nothing."""
    for note in notes(data, big_endian):
        if note.name == b"VMCOREINFO":
            return note.desc
    return b""
