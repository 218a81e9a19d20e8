# SPDX-License-Identifier: MIT
"""Builders: memory images, header blobs and notes, and a plain model of /proc/vmcore.

``vmcore_of`` is written from the format's rules alone and shares no code with the package: it is
the expectation that the package is held against.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field

from oldmemfs.maps.memory import Access, Memory, Run

LOAD, NOTE, NULL = 1, 4, 0


def memory(data: bytes, access: Access = Access.PREAD) -> Memory:
    """These bytes at physical address 0."""
    fd = os.memfd_create("image")
    os.write(fd, data)
    return Memory((Run(0, len(data), fd, 0, access),))


def pattern(size: int, seed: int = 0) -> bytes:
    """Bytes that differ from page to page and word to word."""
    return b"".join(struct.pack("<Q", (i * 0x9E3779B97F4A7C15 + seed) % 2**64)
                    for i in range(-(-size // 8)))[:size]  # fmt: skip


def note(name: bytes, kind: int, desc: bytes, big: bool = False) -> bytes:
    """An ELF note."""
    order = ">" if big else "<"
    name += b"\0"
    padded = name + b"\0" * (-len(name) % 4) + desc + b"\0" * (-len(desc) % 4)
    return struct.pack(order + "III", len(name), len(desc), kind) + padded


def cpu_note(pid: int = 1, big: bool = False) -> bytes:
    """An x86_64 CPU's note: 356 bytes."""
    return note(b"CORE", 1, struct.pack((">" if big else "<") + "32xI300x", pid), big)


def vmcoreinfo_note(release: str = "6.1.0-test", more: str = "", big: bool = False) -> bytes:
    """A VMCOREINFO note of this release."""
    text = f"OSRELEASE={release}\nPAGESIZE=4096\n{more}CRASHTIME=1700000000\n"
    return note(b"VMCOREINFO", 0, text.encode(), big)


@dataclass(frozen=True)
class Segment:
    """A program header of a blob; ``paddr`` and ``filesz`` follow the others unless given."""

    type: int
    offset: int
    memsz: int
    paddr: int | None = None
    filesz: int | None = None
    vaddr: int = 0
    flags: int = 7
    align: int = 0

    def pack(self, bits: int, order: str) -> bytes:
        """Its bytes."""
        paddr = self.offset if self.paddr is None else self.paddr
        filesz = self.memsz if self.filesz is None else self.filesz
        five = (self.offset, self.vaddr, paddr, filesz, self.memsz)
        if bits == 64:
            return struct.pack(order + "II6Q", self.type, self.flags, *five, self.align)
        wrapped = (v % 2**32 for v in five)
        return struct.pack(order + "8I", self.type, *wrapped, self.flags, self.align)


@dataclass
class Blob:
    """A header blob; every field of the ELF header can be set wrong."""

    segments: list[Segment]
    bits: int = 64
    big: bool = False
    machine: int = 62
    phnum: int | None = None
    fields: dict[str, int] = field(default_factory=dict)
    patch: dict[int, bytes] = field(default_factory=dict)

    def pack(self) -> bytes:
        """Its bytes."""
        order = ">" if self.big else "<"
        size, row = (64, 56) if self.bits == 64 else (52, 32)
        values = {
            "type": 4, "machine": self.machine, "version": 1, "entry": 0, "phoff": size,
            "shoff": 0, "flags": 0, "ehsize": size, "phentsize": row,
            "phnum": len(self.segments) if self.phnum is None else self.phnum,
            "shentsize": 0, "shnum": 0, "shstrndx": 0,
        } | self.fields  # fmt: skip
        word = "Q" if self.bits == 64 else "I"
        ident = b"\x7fELF" + bytes([self.bits // 32, 2 if self.big else 1, 1]) + bytes(9)
        head = bytearray(ident + struct.pack(order + "HHI" + 3 * word + "I6H", *values.values()))
        for at, data in self.patch.items():
            head[at : at + len(data)] = data
        return bytes(head) + b"".join(s.pack(self.bits, order) for s in self.segments)


@dataclass
class Image:
    """A raw memory image."""

    size: int = 1 << 20
    data: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self.data[:] = pattern(self.size)

    def put(self, phys: int, data: bytes) -> Image:
        """Lay bytes over it."""
        self.data[phys : phys + len(data)] = data
        return self

    def write(self, path: str | os.PathLike[str]) -> str:
        """To a file, whose name is given back."""
        with open(path, "wb") as file:
            file.write(self.data)
        return str(path)


def rows(count: int, kind: int, at: int, size: int) -> bytes:
    """So many program headers, all the same, of a little-endian ELF64 file."""
    return struct.pack("<2I6Q", kind, 0, at, 0, at, size, size, 0) * count


NOTES = 0x4000  # where ``crashed`` puts the first CPU's note; the others follow, a KiB apart
HEADER = 0x8000


def crashed(
    loads: list[Segment], size: int = 1 << 20, cpus: int = 2, release: str = "6.1.0-test"
) -> Image:
    """An image with a proper header at ``HEADER``: CPU notes, VMCOREINFO, these PT_LOADs."""
    image = Image(size)
    segments = []
    for cpu in range(cpus):
        at = NOTES + 0x400 * cpu
        image.put(at, bytes(368)).put(at, cpu_note(cpu + 1))
        segments.append(Segment(NOTE, at, 368, flags=0))
    at = NOTES + 0x400 * cpus
    image.put(at, bytes(4132)).put(at, vmcoreinfo_note(release))
    segments.append(Segment(NOTE, at, 4132, flags=0))
    return image.put(HEADER, Blob(segments + loads).pack())


def vmcore_of(image: bytes, at: int, page: int = 4096, align: int = 0) -> bytes:
    """The /proc/vmcore that a kernel since 3.11 makes of the ELF64 blob at ``at``."""
    order = ">" if image[at + 16 : at + 18] == b"\0\4" else "<"
    count = struct.unpack_from(order + "H", image, at + 56)[0]
    rows = [list(struct.unpack_from(order + "II6Q", image, at + 64 + 56 * i)) for i in range(count)]
    merged = b""
    for row in rows:
        if row[0] != NOTE:
            continue
        buffer, used = image[row[2] : row[2] + row[6]], 0
        while used + 12 <= len(buffer):
            name, desc = struct.unpack_from(order + "II", buffer, used)
            step = 12 + (name + 3) // 4 * 4 + (desc + 3) // 4 * 4
            if name == 0 or used + step > len(buffer):
                break
            used += step
        row[6] = used
        merged += buffer[:used]
    notes = sum(row[0] == NOTE for row in rows)
    rows = rows[notes:]

    def padded(data: bytes) -> bytes:
        return data + bytes(-len(data) % page)

    head = len(padded(bytes(64 + 56 * (len(rows) + 1))))
    out = padded(merged)
    table = struct.pack(order + "II6Q", 4, 0, head, 0, 0, len(merged), len(merged), align)
    for row in rows:
        if row[0] == LOAD:
            first = row[2] - row[2] % page
            last = row[2] + row[6] + -(row[2] + row[6]) % page
            position = head + len(out) + row[2] - first
            out += image[first:last]
            row[2] = position
        table += struct.pack(order + "II6Q", *row)
    ehdr = bytearray(image[at : at + 64])
    struct.pack_into(order + "H", ehdr, 56, len(rows) + 1)
    return padded(bytes(ehdr) + table) + out
