# SPDX-License-Identifier: MIT
"""An ELF core: a saved vmcore, /proc/vmcore itself, QEMU's dump-guest-memory.

Files are read with pyelftools, by the rules of the ELF specification (e_phoff, PN_XNUM).
/proc/vmcore has the simple form that the kernel writes, and is read by ``elf.header``, so that an
initramfs does not need pyelftools.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from ..elf.header import (
    PT_LOAD,
    PT_NOTE,
    Header,
    Phdr,
    parse_header,
    unpack_phdrs,
    with_phdrs,
)
from ..elf.notes import HEADER_SIZE, MAX_COUNT
from ..elf.procvmcore import note_size
from ..errors import FormatError, SourceError
from ..host.files import image_size, kept_open, reader
from ..kernel.arch import check_machine, machine
from ..maps.memory import Access, Memory, Run, place
from ..ranges import round_up
from .build import of_file
from .tmpfs import TmpfsImage

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..dump import Dump
    from ..options import Options

NAME = "elf"
VMCORE = "/proc/vmcore"
_MAX_PHDRS = 1 << 16  # program headers that are read; e_phnum itself counts at most 65,535
_MAX_NOTES = 1 << 25  # bytes that are read of all PT_NOTEs together
_SMALL_NOTE = 1 << 17  # bytes of a note that is always read; VMCOREINFO has at most 64 KiB
_LARGEST_PAGE = 1 << 16


def open(path: str | None, options: Options) -> Dump:  # noqa: A001
    """The dump in the ELF core at ``path``; None means /proc/vmcore.

    Raises ``SourceError`` if it is no ELF file or cannot be opened, ``FormatError`` if it is an ELF
    file but no core of a kernel.
    """
    path = path or VMCORE
    with kept_open(path) as fd:
        return _open(path, fd, options)


def _open(path: str, fd: int, options: Options) -> Dump:
    size = image_size(path, fd)
    if os.pread(fd, 4, 0) != b"\x7fELF":
        raise SourceError(f"{path}: not an ELF file")
    plain = path == VMCORE
    warnings: list[str] = []
    header = parse_header(reader(path, fd), 0, path) if plain else read_header(path, fd, warnings)
    if options.arch not in (None, "any"):
        check_machine(header, options.arch, path)
    header = _only_physical(path, header, warnings)
    end = max([size, *(p.offset + p.filesz for p in header.loads)])
    if end > size:
        warnings.append(
            f"{path}: truncated: its headers describe {end:#x} bytes, it has {size:#x}; "
            f"the missing ones {'give EIO' if options.strict else 'read as zeros'}"
        )
    runs: list[Run] = []
    lost: list[Run] = []  # placed last: where PT_LOADs overlap, one that has the bytes is used
    for p in header.loads:
        # If the file ends inside a page, that page is read to its end, and the missing bytes are a
        # fault. Whole pages that are missing are LOST.
        there = max(size - p.offset, 0)
        if there:
            there = min(round_up(p.paddr + there, _LARGEST_PAGE) - p.paddr, p.filesz)
        runs.append(Run(p.paddr, there, fd, p.offset))
        runs.append(Run(p.paddr + p.filesz, p.memsz - p.filesz, -1, 0, Access.ZERO))
        lost.append(Run(p.paddr + there, p.filesz - there, -1, 0, Access.LOST))
    notes = _notes(path, fd, header, warnings)
    resident = TmpfsImage(fd)
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


def read_header(path: str, fd: int, warnings: list[str]) -> Header:
    """The core's header, with at most ``_MAX_PHDRS`` program headers from where e_phoff points.

    Adds to ``warnings`` if there are more. Raises ``FormatError`` if the file is not a core or ends
    inside the headers, ``SourceError`` if pyelftools is not installed (in an initramfs).
    """
    try:
        from elftools.common.exceptions import ELFError
        from elftools.elf.elffile import ELFFile
    except ImportError as error:
        raise SourceError(
            f"{path}: a saved core needs pyelftools, which is not installed"
        ) from error

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
    if count <= 0:
        raise FormatError(f"{path}: {count} program headers", 56 if bits == 64 else 44)
    if count > _MAX_PHDRS:
        warnings.append(
            f"{path}: {count} program headers: only the first {_MAX_PHDRS} are used; the memory of "
            "the others is in `vmcore`, and in no other file"
        )
        count = _MAX_PHDRS
    phdrs = unpack_phdrs(read(at, count * row), bits, big)
    ehdr = read(0, 64 if bits == 64 else 52)
    machine = int.from_bytes(ehdr[18:20], "big" if big else "little")
    return Header(ehdr, bits, big, machine, tuple(phdrs))


def _only_physical(path: str, header: Header, warnings: list[str]) -> Header:
    """The header without the PT_LOADs whose physical addresses are impossible.

    Adds a warning for each. Raises ``FormatError`` if no PT_LOAD is left, and for the core of a
    process, whose PT_LOADs all have p_paddr 0.
    """
    limit = machine(header.machine).physical_limit
    kept: list[Phdr] = []
    for i, p in enumerate(header.phdrs):
        if p.type == PT_LOAD and p.filesz > p.memsz:
            raise FormatError(f"{path}: program header {i} has p_filesz above p_memsz")
        if p.type == PT_LOAD and p.paddr + p.memsz > limit:
            warnings.append(
                f"{path}: program header {i} cannot be memory: PT_LOAD of {p.memsz:#x} bytes at "
                f"{p.paddr:#x}; it is in `vmcore` but not in `oldmem`"
            )
            continue
        kept.append(p)
    loads = [p for p in kept if p.type == PT_LOAD]
    if not loads:
        raise FormatError(f"{path}: no PT_LOAD: there is no memory in it")
    if len(loads) > 1 and not any(p.paddr for p in loads):
        raise FormatError(
            f"{path}: every PT_LOAD has p_paddr 0: the core of a process, not of a kernel"
        )
    return with_phdrs(header, kept)


def _notes(path: str, fd: int, header: Header, warnings: list[str]) -> bytes:
    """The bytes of all PT_NOTEs, up to ``_MAX_NOTES`` bytes and ``MAX_COUNT`` notes.

    Adds to ``warnings`` what is not read.
    """
    read = reader(path, fd)
    parts: list[bytes] = []
    size_left, count_left = _MAX_NOTES, MAX_COUNT
    for i, p in enumerate(header.phdrs):
        if p.type != PT_NOTE:
            continue
        where = f"{path}: program header {i}, a PT_NOTE of {p.filesz:#x} bytes"
        try:
            if p.filesz <= size_left:
                data = read(p.offset, p.filesz)
                count = note_size(data, header.big_endian, packed=False, most=count_left)[1]
            else:
                data, count = _small_notes(read, p, header.big_endian, size_left, count_left)
                warnings.append(
                    f"{where}: of all notes {_MAX_NOTES:#x} bytes are read: of this one the notes "
                    f"of up to {_SMALL_NOTE:#x} bytes, {len(data):#x} bytes in all"
                )
        except FormatError as error:
            warnings.append(str(error))
            continue
        size_left -= len(data)
        count_left -= count
        if count_left < 0:
            warnings.append(
                f"{where}: more than {MAX_COUNT} notes: those of this one and of the PT_NOTEs "
                "after it are not read"
            )
            break
        parts.append(data)
    return b"".join(parts)


def _small_notes(
    read: Callable[[int, int], bytes], p: Phdr, big_endian: bool, size_left: int, count_left: int
) -> tuple[bytes, int]:
    """The notes of a large PT_NOTE that have at most ``_SMALL_NOTE`` bytes, and how many it has.

    A PT_NOTE is large because of dumps that drivers add (vmcoredd); VMCOREINFO comes after them.
    """
    row = struct.Struct(">II" if big_endian else "<II")
    parts: list[bytes] = []
    at, end, count = p.offset, p.offset + p.filesz, 0
    while at + HEADER_SIZE <= end and count <= count_left:
        name, desc = row.unpack(read(at, row.size))
        size = HEADER_SIZE + round_up(name, 4) + round_up(desc, 4)
        if not name or at + size > end:
            break
        if size <= min(_SMALL_NOTE, size_left):
            parts.append(read(at, size))
            size_left -= size
        at += size
        count += 1
    return b"".join(parts), count
