# SPDX-License-Identifier: MIT
"""A raw memory image (a VM's RAM file, a saved /dev/mem), and which address is where in it."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import TYPE_CHECKING

from ..elf.header import parse_header
from ..errors import FaultError, FormatError, SourceError, UsageError
from ..host.files import image_size, kept_open, open_read, reader
from ..kernel.arch import check_machine
from ..maps.memory import Memory, Run, place
from ..options import Piece
from ..ranges import Range
from . import findheader, otherformats
from .build import from_blob
from .tmpfs import TmpfsImage

if TYPE_CHECKING:
    from ..dump import Dump
    from ..elf.header import Header
    from ..options import Options

NAME = "raw"
_GIB = 1 << 30
_FOUR = 4 * _GIB
# On an AMD host, QEMU puts no guest memory into the HyperTransport hole at 1012 GiB. The image does
# not say on which host it was made, so that -o machine= cannot tell where memory above it is.
_AMD_HOLE = 0xFD_0000_0000
_MOST_ROWS = 1 << 17  # rows of `vmcore`'s table beside one for each PT_LOAD: 7 MB


def machine_map(machine: str | None, size: int) -> tuple[Piece, ...]:
    """Where QEMU's ``machine`` puts ``size`` bytes of RAM; None: physical address = file offset.

    From QEMU's hw/i386/pc_piix.c, pc_q35.c, microvm.c, hw/arm/virt.c and hw/riscv/virt.c: guests
    with more memory than fits below the hole have the rest from 4 GiB on.

    Raises ``UsageError`` if the place of the memory also depends on the host (``_AMD_HOLE``).

    ::

        file   0            L                size
               |---- low ---|----- high -----|
        phys   0            L    hole    4 GiB              4 GiB + size - L
    """
    low = {
        None: size,
        "pc": size if size < 0xE000_0000 else 0xC000_0000,
        "q35": size if size < 0xB000_0000 else 0x8000_0000,
        "microvm": min(size, 0xC000_0000),
    }
    if machine == "virt":
        return (Piece(Range(_GIB, _GIB + size), 0),)
    if machine == "riscv-virt":
        return (Piece(Range(2 * _GIB, 2 * _GIB + size), 0),)
    below = low[machine]
    if below == size:
        return (Piece(Range(0, size), 0),)
    end = _FOUR + size - below
    if end > _AMD_HOLE:
        raise UsageError(
            f"-o machine={machine}: {size:#x} bytes of RAM may be split around AMD's hole at "
            f"{_AMD_HOLE:#x}: give their places with -o ram="
        )
    return (Piece(Range(0, below), 0), Piece(Range(_FOUR, end), below))


def _memory(path: str, fd: int, size: int, options: Options) -> Memory:
    pieces = options.ram or machine_map(options.machine, size)
    for piece in pieces:
        if piece.offset + piece.phys.size > size:
            raise UsageError(
                f"{path}: {size:#x} bytes; -o ram={piece.phys}@{piece.offset:#x} ends at "
                f"{piece.offset + piece.phys.size:#x}"
            )
    ordered = sorted(p.phys for p in pieces)
    for a, b in pairwise(ordered):
        if b.start < a.end:
            raise UsageError(f"-o ram=: {a} and {b} overlap")
    return Memory(tuple(place(Run(p.phys.start, p.phys.size, fd, p.offset) for p in pieces)))


def _mapped(memory: Memory, fd: int, header: Header) -> Memory:
    """The same memory; an image on tmpfs is read through mmap where it has data.

    Not if the table of `vmcore` would have more than ``_MOST_ROWS`` extra rows: where PT_LOADs
    overlap, each of them needs a row for every mapped piece.
    """
    resident = TmpfsImage(fd)
    mapped = Memory(tuple(resident.mapped(memory.runs)), resident.windows)
    rows = sum(mapped.crossed(Range(p.offset, p.offset + p.memsz)) for p in header.loads)
    return mapped if rows <= len(header.loads) + _MOST_ROWS else memory


def find_header(path: str, memory: Memory, options: Options) -> tuple[Header, str]:
    """The header that -o elfcorehdr= names, or else the only one in the image; and where it is.

    Raises ``FormatError`` if there is none at the given place, ``UsageError`` if a search finds
    none or several.
    """
    if isinstance(options.elfcorehdr, str):
        fd = open_read(options.elfcorehdr)
        try:
            header = parse_header(reader(options.elfcorehdr, fd), 0, options.elfcorehdr)
        finally:
            os.close(fd)
        return header, options.elfcorehdr
    if options.elfcorehdr is not None:
        try:
            header = parse_header(memory.read, options.elfcorehdr, path)
        except FaultError as error:
            message = f"{path}: no ELF header at {options.elfcorehdr:#x}: {error}"
            raise FormatError(f"{message}; check -o elfcorehdr= and -o ram=") from error
        return header, f"{path} at {options.elfcorehdr:#x}"
    try:
        address = findheader.find(memory, path)
    except UsageError as error:
        raise UsageError(f"{error}{otherformats.memory_map(path, options)}") from error
    return parse_header(memory.read, address, path), f"{path} at {address:#x}"


def open(path: str | None, options: Options) -> Dump:  # noqa: A001
    """The dump in the raw image at ``path``.

    Raises ``SourceError`` if it cannot be opened, ``FormatError`` for a bad header or a format of
    ``otherformats``, ``UsageError`` if options are missing or do not fit the image.
    """
    if path is None:
        raise SourceError("no image was named")
    with kept_open(path) as fd:
        return _open(path, fd, options)


def _open(path: str, fd: int, options: Options) -> Dump:
    size = image_size(path, fd)
    if not options.source:
        otherformats.refuse(path, reader(path, fd)(0, min(size, otherformats.LOOK)))
    memory = _memory(path, fd, size, options)
    header, origin = find_header(path, memory, options)
    memory = _mapped(memory, fd, header)
    if options.arch not in (None, "any"):
        check_machine(header, options.arch, origin)
    return from_blob(
        header,
        memory,
        options,
        source=path,
        origin=origin,
        page_size=None,
        release=None,
        known=memory.ranges,
    )
