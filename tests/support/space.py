# SPDX-License-Identifier: MIT
"""Virtual memory of a dead kernel, for tests: regions by address, on any machine."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from oldmemfs.errors import FaultError
from oldmemfs.kernel.vmcoreinfo import Vmcoreinfo

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Space:
    """Virtual memory of a dead kernel: regions by address."""

    word: int = 8
    big_endian: bool = False
    regions: dict[int, bytearray] = field(default_factory=dict)
    holes: list[tuple[int, int]] = field(default_factory=list)

    def read(self, virt: int, size: int) -> bytes:
        if any(virt < end and start < virt + size for start, end in self.holes):
            raise FaultError(virt, size)
        for base, data in self.regions.items():
            if base <= virt and virt + size <= base + len(data):
                return bytes(data[virt - base : virt - base + size])
        raise FaultError(virt, size)

    def write(self, virt: int, data: bytes) -> None:
        for base, region in self.regions.items():
            if base <= virt < base + len(region):
                region[virt - base : virt - base + len(data)] = data
                return
        raise KeyError(hex(virt))

    def put(self, virt: int, letter: str, value: int) -> None:
        """Write one number; ``P`` is as wide as an address."""
        letter = {"P": "Q" if self.word == 8 else "I"}.get(letter, letter)
        self.write(virt, struct.pack((">" if self.big_endian else "<") + letter, value))

    def level(self, level: int, flags: int = 6) -> int:
        """The byte of ``flags:5, level:3``."""
        return flags << 3 | level if self.big_endian else flags | level << 5

    def save(self, path: Path, info: Vmcoreinfo) -> None:
        """An ELF core of it, for readers that nobody here wrote."""
        order = ">" if self.big_endian else "<"
        note = struct.pack(order + "3I", 11, len(info.text), 0) + b"VMCOREINFO\0\0" + info.text
        note += bytes(-len(note) % 4)
        wide = self.word == 8
        ehdr = struct.Struct(order + ("16s2HI3QI6H" if wide else "16s2HI3II6H"))
        phdr = 56 if wide else 32
        start = ehdr.size + phdr * (1 + len(self.regions))
        ident = bytes((0x7F, *b"ELF", 2 if wide else 1, 2 if self.big_endian else 1, 1))
        machine = (62 if wide else 3) if not self.big_endian else (21 if wide else 20)
        out = ehdr.pack(
            ident,
            4,
            machine,
            1,
            0,
            ehdr.size,
            0,
            0,
            ehdr.size,
            phdr,
            1 + len(self.regions),
            0,
            0,
            0,
        )
        bodies = [(4, 0, note), *((1, virt, bytes(data)) for virt, data in self.regions.items())]
        for kind, virt, body in bodies:
            at = (start, virt, virt & 0xFFFFFFF, len(body), len(body))
            out += (
                struct.pack(order + "2I6Q", kind, 7, *at, 0)
                if wide
                else struct.pack(order + "8I", kind, *at, 7, 0)
            )
            start += len(body)
        path.write_bytes(out + b"".join(body for _, _, body in bodies))


def vmcoreinfo(**groups: dict[str, int]) -> Vmcoreinfo:
    """VMCOREINFO from ``SYMBOL={...}, SIZE={...}``."""
    lines = ["OSRELEASE=6.1.0-test\nPAGESIZE=4096\n"]
    for kind, keys in groups.items():
        number = "x" if kind == "SYMBOL" else "d"
        lines += [f"{kind}({key})={value:{number}}\n" for key, value in keys.items()]
    return Vmcoreinfo.parse("".join(lines).encode())
