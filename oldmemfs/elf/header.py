"""The ELF core header of a crash and the /proc/vmcore that a capture kernel makes of it.

The blob (elfcorehdr) is what kexec or the first kernel prepared before the crash: an ELF header
and, right behind it, program headers. In it a PT_LOAD's ``p_offset`` is the physical address where
its data lies *now*, ``p_paddr`` the one where it lay at the crash, and they differ for the low
640 KiB that kexec-tools backs up. The rules here are those of fs/proc/vmcore.c; where they differ
from the ELF specification (e_phoff is ignored, EI_DATA is not trusted, PN_XNUM is a plain number),
the kernel's hold.
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
    """One program header, in the order of ELF64."""

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
    """An ELF header, verbatim, and its program headers."""

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
        """The PT_LOADs, in order."""
        return [p for p in self.phdrs if p.type == PT_LOAD]

    def pack(self) -> bytes:
        """The header's bytes; e_phnum follows the program headers, all else is verbatim."""
        order = ">" if self.big_endian else "<"
        at = 56 if self.bits == 64 else 44
        ehdr = bytearray(self.ehdr)
        struct.pack_into(order + "H", ehdr, at, len(self.phdrs))
        if self.bits == 64:
            row = struct.Struct(order + "IIQQQQQQ")
            rows = [row.pack(*p) for p in self.phdrs]
        else:  # p_flags stands elsewhere, and what does not fit wraps, as in the kernel
            row = struct.Struct(order + "8I")
            rows = [
                row.pack(p.type, *(v % 2**32 for v in p[2:7]), p.flags, p.align % 2**32)
                for p in self.phdrs
            ]
        return bytes(ehdr) + b"".join(rows)


# What the kernel's own sanity check reads of the ELF header, from e_type on.
_SANITY = {64: "HHI QQQ I HHH", 32: "HHI III I HHH"}


def parse_header(read: Callable[[int, int], bytes], address: int, where: str) -> Header:
    """The header blob at ``address``; ``read(address, size)`` gives its bytes.

    Checks what the kernel checks, in its order, and nothing else.

    Raises ``FormatError`` that names ``where`` and the offset; what ``read`` raises goes through.
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
    big = ehdr[16:18] == b"\x00\x04"  # the e_type that a core has tells the byte order
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
    """Program headers from their bytes."""
    order = ">" if big_endian else "<"
    if bits == 64:
        return [Phdr(*row) for row in struct.iter_unpack(order + "IIQQQQQQ", table)]
    row = struct.Struct(order + "8I")
    phdrs = []
    for kind, offset, vaddr, paddr, filesz, memsz, flags, align in row.iter_unpack(table):
        phdrs.append(Phdr(kind, flags, offset, vaddr, paddr, filesz, memsz, align))
    return phdrs


def with_phdrs(header: Header, phdrs: Sequence[Phdr]) -> Header:
    """The same ELF header over other program headers."""
    return replace(header, phdrs=tuple(phdrs))
