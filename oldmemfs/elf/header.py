# SPDX-License-Identifier: MIT
"""The ELF header and program headers of a crash, read as the kernel reads them.

The blob (elfcorehdr) is what kexec or the first kernel prepared before the crash: an ELF header
followed directly by program headers. In it, ``p_offset`` of a PT_LOAD is the physical address
where its bytes are *now*, and ``p_paddr`` the one where they were at the crash; the two differ for
the low 640 KiB that kexec-tools backs up.

The rules here are those of fs/proc/vmcore.c, also where they differ from the ELF specification:
e_phoff is ignored, EI_DATA is not trusted, and e_phnum 0xffff is a plain number, not PN_XNUM.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from ..errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PT_NULL, PT_LOAD, PT_NOTE = 0, 1, 4
ET_CORE = 4
EM_386, EM_486, EM_MIPS, EM_PPC, EM_PPC64, EM_S390 = 3, 6, 8, 20, 21, 22
EM_ARM, EM_SH, EM_IA_64, EM_X86_64, EM_AARCH64, EM_RISCV = 40, 42, 50, 62, 183, 243
EM_LOONGARCH = 258


class Phdr(NamedTuple):
    """One program header, its fields in the order of ELF64; addresses and sizes in bytes."""

    type: int
    flags: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int


@dataclass(frozen=True, slots=True)
class Header:
    """The bytes of an ELF header, what they say, and the program headers."""

    ehdr: bytes
    bits: int  # 32 or 64
    big_endian: bool
    machine: int
    phdrs: tuple[Phdr, ...]

    @property
    def phdr_size(self) -> int:
        """Bytes of one program header in the file."""
        return 56 if self.bits == 64 else 32

    @property
    def size(self) -> int:
        """Bytes of the ELF header and the program headers."""
        return len(self.ehdr) + self.phdr_size * len(self.phdrs)

    @property
    def loads(self) -> list[Phdr]:
        """The PT_LOADs, in the order of the file."""
        return [p for p in self.phdrs if p.type == PT_LOAD]

    def pack(self) -> bytes:
        """The ELF header and the program headers as bytes.

        e_phnum is their number; the rest of the ELF header is ``ehdr`` as it was read.
        """
        order = ">" if self.big_endian else "<"
        at = 56 if self.bits == 64 else 44
        ehdr = bytearray(self.ehdr)
        struct.pack_into(order + "H", ehdr, at, len(self.phdrs))
        if self.bits == 64:
            row = struct.Struct(order + "IIQQQQQQ")
            rows = [row.pack(*p) for p in self.phdrs]
        else:  # ELF32 has p_flags behind p_memsz; values wrap modulo 2^32, as in the kernel
            row = struct.Struct(order + "8I")
            rows = [
                row.pack(p.type, *(v % 2**32 for v in p[2:7]), p.flags, p.align % 2**32)
                for p in self.phdrs
            ]
        return bytes(ehdr) + b"".join(rows)


# The fields that the kernel checks, from e_type on, for ``struct``.
_SANITY = {64: "HHI QQQ I HHH", 32: "HHI III I HHH"}


def parse_header(read: Callable[[int, int], bytes], address: int, where: str) -> Header:
    """The header blob at ``address``; ``read(address, size)`` returns exactly ``size`` bytes.

    Makes the checks of parse_crash_elf64_headers and parse_crash_elf32_headers in fs/proc/vmcore.c,
    and no others.

    Raises ``FormatError`` with ``where`` and the offset. Errors of ``read`` are not caught.
    """

    def refuse(why: str, offset: int) -> FormatError:
        return FormatError(f"{where}: not a crash dump's ELF header: {why}", address + offset)

    ident = read(address, 16)
    if ident[:4] != b"\x7fELF":
        raise refuse(f"no ELF magic but {ident[:4].hex()}", 0)
    if ident[4] not in (1, 2):
        raise refuse(f"EI_CLASS is {ident[4]}, neither 1 nor 2", 4)
    bits = 32 * ident[4]
    ehdr = read(address, 64 if bits == 64 else 52)
    big = ehdr[16:18] == b"\x00\x04"  # ET_CORE, big-endian: EI_DATA is not trusted
    order = ">" if big else "<"
    e_type, machine, version, _, _, _, _, ehsize, phentsize, phnum = struct.unpack_from(
        order + _SANITY[bits].replace(" ", ""), ehdr, 16
    )
    natural = 56 if bits == 64 else 32
    tail = 52 if bits == 64 else 40
    for value, wanted, name, offset in (
        (e_type, ET_CORE, "e_type", 16),
        (ident[6], 1, "EI_VERSION", 6),
        (version, 1, "e_version", 20),
        (ehsize, len(ehdr), "e_ehsize", tail),
        (phentsize, natural, "e_phentsize", tail + 2),
    ):
        if value != wanted:
            raise refuse(f"{name} is {value:#x} instead of {wanted:#x}", offset)
    if phnum == 0:
        raise refuse("e_phnum is 0", tail + 4)
    table = read(address + len(ehdr), phnum * natural)
    return Header(ehdr, bits, big, machine, tuple(unpack_phdrs(table, bits, big)))


def unpack_phdrs(table: bytes, bits: int, big_endian: bool) -> list[Phdr]:
    """The program headers in ``table``, whose size is a multiple of a program header's."""
    order = ">" if big_endian else "<"
    if bits == 64:
        return [Phdr(*row) for row in struct.iter_unpack(order + "IIQQQQQQ", table)]
    row = struct.Struct(order + "8I")
    phdrs = []
    for kind, offset, vaddr, paddr, filesz, memsz, flags, align in row.iter_unpack(table):
        phdrs.append(Phdr(kind, flags, offset, vaddr, paddr, filesz, memsz, align))
    return phdrs


def with_phdrs(header: Header, phdrs: Sequence[Phdr]) -> Header:
    """A copy of ``header`` with these program headers."""
    return replace(header, phdrs=tuple(phdrs))
