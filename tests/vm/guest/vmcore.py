# SPDX-License-Identifier: MIT
"""The program headers of /proc/vmcore, read with nothing but struct."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .report import CheckError

if TYPE_CHECKING:
    from collections.abc import Iterator

VMCORE = "/proc/vmcore"
PT_LOAD, PT_NOTE = 1, 4


@dataclass(frozen=True, slots=True)
class Segment:
    """One program header of a 64-bit little-endian ELF file."""

    kind: int
    offset: int
    virt: int
    phys: int
    size: int
    memory: int  # more than the bytes in the file, where the rest is zero

    def __str__(self) -> str:
        return f"phys 0x{self.phys:x}..0x{self.phys + self.size:x} at offset 0x{self.offset:x}"


def segments(path: str = VMCORE) -> list[Segment]:
    """All program headers, in the file's order."""
    fd = os.open(path, os.O_RDONLY)
    try:
        header = os.pread(fd, 64, 0)
        (table,) = struct.unpack_from("<Q", header, 32)
        (count,) = struct.unpack_from("<H", header, 56)
        found = []
        for index in range(count):
            fields = struct.unpack("<IIQQQQQQ", os.pread(fd, 56, table + 56 * index))
            found.append(Segment(fields[0], *fields[2:7]))
        return found
    finally:
        os.close(fd)


def loads(path: str = VMCORE) -> list[Segment]:
    """The segments that are memory."""
    return [segment for segment in segments(path) if segment.kind == PT_LOAD]


def memory(phys: int, size: int) -> bytes:
    """Old memory from a physical address on, which must lie in one segment."""
    for load in loads():
        if load.phys <= phys and phys + size <= load.phys + load.size:
            with open(VMCORE, "rb") as file:
                file.seek(load.offset + phys - load.phys)
                return file.read(size)
    raise CheckError(f"no segment has 0x{phys:x}")


def notes(path: str = VMCORE) -> Iterator[tuple[bytes, bytes]]:
    """Name and contents of every ELF note."""
    for segment in segments(path):
        if segment.kind != PT_NOTE:
            continue
        with open(path, "rb", buffering=0) as file:
            file.seek(segment.offset)
            data = file.read(segment.size)
        at = 0
        while at + 12 <= len(data):
            name_size, size, _ = struct.unpack_from("<III", data, at)
            name = at + 12
            contents = name + (name_size + 3 & ~3)
            yield data[name : name + name_size].rstrip(b"\0"), data[contents : contents + size]
            at = contents + (size + 3 & ~3)
