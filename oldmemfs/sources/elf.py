"""An ELF core: a saved vmcore, /proc/vmcore itself, QEMU's dump-guest-memory.

Files are read by the ELF specification's rules, which pyelftools knows (PN_XNUM among them); the
kernel's own is as plain as the blob it is made from, and a capture kernel need not hold pyelftools.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .. import elfcore
from ..dump import of_file, physical_limit
from ..elfcore import Header, Phdr
from ..errors import FormatError, SourceError
from ..files import image_size, kept_open, reader
from ..memory import Access, Memory, Run, place
from ..ranges import round_up
from ..resident import Resident

if TYPE_CHECKING:
    from ..dump import Dump
    from ..options import Options

NAME = "elf"
VMCORE = "/proc/vmcore"
_MAX_PHDRS = 1 << 20
_MAX_NOTES = 1 << 28
_LARGEST_PAGE = 1 << 16


def open(path: str | None, options: Options) -> Dump:  # noqa: A001
    """The dump in an ELF core; None means /proc/vmcore."""
    path = path or VMCORE
    with kept_open(path) as fd:
        return _open(path, fd, options)


def _open(path: str, fd: int, options: Options) -> Dump:
    size = image_size(path, fd)
    if os.pread(fd, 4, 0) != b"\x7fELF":
        raise SourceError(f"{path}: not an ELF file")
    plain = path == VMCORE
    header = elfcore.parse(reader(path, fd), 0, path) if plain else read_header(path, fd, size)
    if options.arch not in (None, "any"):
        elfcore.check_machine(header, options.arch, path)
    warnings: list[str] = []
    header = _only_physical(path, header, warnings)
    end = max([size, *(p.offset + p.filesz for p in header.loads)])
    if end > size:
        warnings.append(
            f"{path}: truncated: its headers speak of {end:#x} bytes, there are {size:#x}; "
            f"the missing ones {'give EIO' if options.strict else 'read as zeros'}"
        )
    runs: list[Run] = []
    lost: list[Run] = []  # last: where PT_LOADs overlap, one that has the bytes goes first
    for p in header.loads:
        # a page of which the file has a part is asked for whole: what is missing is a fault
        there = max(size - p.offset, 0)
        if there:
            there = min(round_up(p.paddr + there, _LARGEST_PAGE) - p.paddr, p.filesz)
        runs.append(Run(p.paddr, there, fd, p.offset))
        runs.append(Run(p.paddr + p.filesz, p.memsz - p.filesz, -1, 0, Access.ZERO))
        lost.append(Run(p.paddr + there, p.filesz - there, -1, 0, Access.LOST))
    notes = _notes(path, fd, header, warnings)
    resident = Resident(fd)
    return of_file(
        header,
        Memory(tuple(resident.mapped([Run(0, size, fd, 0)])), resident.windows),
        Memory(tuple(resident.mapped(place([*runs, *lost]))), resident.windows),
        source=path,
        origin=path,
        size=end,
        notes=notes,
        page_size=options.page_size or os.sysconf("SC_PAGE_SIZE"),
        warnings=warnings,
    )


def read_header(path: str, fd: int, size: int) -> Header:
    """The core's header, wherever e_phoff puts the program headers.

    Raises ``FormatError`` when it is no core or is cut short, ``SourceError`` in an initramfs.
    """
    try:
        from elftools.common.exceptions import ELFError
        from elftools.elf.elffile import ELFFile
    except ImportError as error:
        raise SourceError(f"{path}: a saved core needs pyelftools, left out here") from error

    read = reader(path, fd)
    with os.fdopen(os.dup(fd), "rb") as file:
        try:
            elf = ELFFile(file)
            count, at = elf.num_segments(), elf["e_phoff"]
            kind, row = elf["e_type"], elf["e_phentsize"]
        except (ELFError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise FormatError(f"{path}: broken ELF header: {error}", 0) from error
    bits, big = elf.elfclass, not elf.little_endian
    if kind != "ET_CORE":
        raise FormatError(f"{path}: {kind}, not a core: name the dump, not the kernel", 16)
    if row != (56 if bits == 64 else 32):
        raise FormatError(f"{path}: e_phentsize is {row:#x}", 54 if bits == 64 else 42)
    if not 0 < count <= _MAX_PHDRS:
        raise FormatError(f"{path}: {count} program headers", 56 if bits == 64 else 44)
    phdrs = elfcore.unpack_phdrs(read(at, count * row), bits, big)
    ehdr = read(0, 64 if bits == 64 else 52)
    machine = int.from_bytes(ehdr[18:20], "big" if big else "little")
    return Header(ehdr, bits, big, machine, tuple(phdrs))


def _only_physical(path: str, header: Header, warnings: list[str]) -> Header:
    """The header without PT_LOADs that name no physical address."""
    limit = physical_limit(header.machine)
    kept: list[Phdr] = []
    for i, p in enumerate(header.phdrs):
        if p.type == elfcore.PT_LOAD and p.filesz > p.memsz:
            raise FormatError(f"{path}: program header {i} has p_filesz above p_memsz")
        if p.type == elfcore.PT_LOAD and p.paddr + p.memsz > limit:
            warnings.append(
                f"{path}: program header {i} cannot be memory: PT_LOAD of {p.memsz:#x} bytes at "
                f"{p.paddr:#x}; it is in `vmcore` but not in `oldmem`"
            )
            continue
        kept.append(p)
    loads = [p for p in kept if p.type == elfcore.PT_LOAD]
    if not loads:
        raise FormatError(f"{path}: no PT_LOAD: no memory in it")
    if len(loads) > 1 and not any(p.paddr for p in loads):
        raise FormatError(
            f"{path}: no PT_LOAD names a physical address: the core of a process, not of a kernel"
        )
    return elfcore.with_phdrs(header, kept)


def _notes(path: str, fd: int, header: Header, warnings: list[str]) -> bytes:
    read = reader(path, fd)
    notes: list[bytes] = []
    left = _MAX_NOTES
    for p in header.phdrs:
        if p.type != elfcore.PT_NOTE:
            continue
        try:
            if p.filesz > left:
                raise FormatError(f"{path}: more than {_MAX_NOTES:#x} bytes of notes", p.offset)
            notes.append(read(p.offset, p.filesz))
            left -= p.filesz
        except FormatError as error:
            warnings.append(str(error))
    return b"".join(notes)
