# SPDX-License-Identifier: MIT
"""/dev/mem of a capture kernel: old memory, read through bounded mmaps of it.

If /proc/vmcore exists, `vmcore` has exactly its bytes. They are read from /dev/mem where that can
be mapped, which is about ten times faster, and from /proc/vmcore everywhere else::

    /proc/vmcore   |- header, notes -|---- LOAD ----|-- refused by /dev/mem --|---- LOAD ----|
    is read from     /proc/vmcore       /dev/mem          /proc/vmcore           /dev/mem

If /proc/vmcore does not exist, or its header is garbage, the header blob in memory is used.
"""

from __future__ import annotations

import os
import platform
import stat
from typing import TYPE_CHECKING

from ..elf.header import PT_NOTE
from ..errors import FaultError, SourceError
from ..host.files import open_read, read_text, reader
from ..kernel.arch import check_machine, machine, native
from ..kernel.vmcoreinfo import parse_version
from ..maps.memory import Access, Memory, Run, place
from ..ranges import Range, round_down, round_up
from . import liveheader
from .build import from_blob, of_file, restored, wanted
from .refusals import mappable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..dump import Dump
    from ..elf.header import Header, Phdr
    from ..options import Options

NAME = "devmem"
DEVICE = "/dev/mem"
VMCORE = "/proc/vmcore"
_MIB = 1 << 20


def open(path: str | None, options: Options) -> Dump:  # noqa: A001
    """The dump in the old memory of this capture kernel.

    Raises ``SourceError`` if ``path`` is not /dev/mem, if it cannot be opened, or if neither
    /proc/vmcore nor a header blob can be read.
    """
    if path not in (None, DEVICE):
        raise SourceError(f"{path}: not {DEVICE}")
    device = open_read(DEVICE)
    if not stat.S_ISCHR(os.fstat(device).st_mode):
        raise SourceError(f"{DEVICE}: not a device")
    warnings: list[str] = []
    vmcore = liveheader.proc_vmcore(VMCORE, warnings)
    blob, origin = liveheader.blob(device, options)
    if vmcore:
        return _over_vmcore(device, *vmcore, blob, origin, warnings)
    if not blob:
        raise SourceError("; ".join([origin, *warnings]))
    if options.arch != "any":
        check_machine(blob, options.arch or native().name, origin)
    page_size = os.sysconf("SC_PAGE_SIZE")
    limit = machine(blob.machine).physical_limit
    ranges = [r for r in wanted(blob, page_size) if r.end <= limit]
    present = Memory(tuple(place(_windows(device, ranges, page_size))))
    dump = from_blob(
        blob,
        present,
        options,
        source=DEVICE,
        origin=origin,
        page_size=page_size,
        release=parse_version(platform.release()),
        known=None,
    )
    return dump.with_warnings(warnings)


def _windows(device: int, ranges: Sequence[Range], grain: int) -> list[Run]:
    resources = read_text("/proc/iomem") or ""
    return [
        Run(r.start, r.size, device, r.start, Access.WINDOW)
        for whole in ranges
        for r in mappable(device, whole, resources, grain)
    ]


def _present_addresses(loads: Sequence[Phdr], blob: Header | None) -> list[int | None]:
    """The present physical address of each PT_LOAD's data; None if only the kernel knows it.

    The blob has it in p_offset. Without the blob, ``p_paddr`` is right for memory that no loader
    moves: kexec-tools moves the low 640 KiB on x86 (inside the first MiB) and 64 KiB on ppc64,
    firmware-assisted dumps move more. ``Arch.moved_below`` has the limit.
    """
    same = blob and [(p.paddr, p.memsz, p.vaddr) for p in blob.loads]
    if blob and same == [(p.paddr, p.memsz, p.vaddr) for p in loads]:
        return [p.offset for p in blob.loads]
    floor = native().moved_below
    return [p.paddr if floor is not None and p.paddr >= floor else None for p in loads]


def _over_vmcore(
    device: int, fd: int, header: Header, blob: Header | None, origin: str, warnings: list[str]
) -> Dump:
    page_size = os.sysconf("SC_PAGE_SIZE")
    size = os.fstat(fd).st_size
    addresses = _present_addresses(header.loads, blob)
    runs: list[Run] = []
    for p, address in zip(header.loads, addresses, strict=True):
        if address is None:
            continue
        start = round_down(p.offset, page_size)
        end = min(round_up(p.offset + p.memsz, page_size), size)
        move = start - round_down(address, page_size)  # from physical address to file offset
        pieces = [
            run.part(run.phys, run.end, to=run.phys + move)
            for run in _windows(device, [Range(start - move, end - move)], _MIB)
        ]
        if all(_same_ends(piece, fd) for piece in pieces):
            runs += pieces
        else:
            warnings.append(
                f"{DEVICE} at {address:#x} and {VMCORE} have different bytes; that PT_LOAD is read "
                f"from {VMCORE}"
            )
    present = Memory(tuple(place([*runs, Run(0, size, fd, 0)])))
    first = min((p.offset for p in header.loads), default=size)
    notes = b"".join(
        reader(VMCORE, fd)(p.offset, p.filesz)
        for p in header.phdrs
        if p.type == PT_NOTE and p.offset + p.filesz <= first
    )
    moved = [a != p.paddr for a, p in zip(addresses, header.loads, strict=True)]
    return of_file(
        header,
        present,
        restored(present, header.loads, moved, page_size),
        source=f"{DEVICE} and {VMCORE}",
        origin=f"{VMCORE}; addresses from {origin}" if blob else f"{VMCORE}; {origin}",
        size=size,
        notes=notes,
        page_size=page_size,
        warnings=warnings,
    )


def _same_ends(piece: Run, fd: int) -> bool:
    """Whether the first and the last page of ``piece`` are the same in /proc/vmcore (``fd``).

    ``piece.phys`` is an offset in /proc/vmcore here. A page that cannot be read counts as equal: it
    proves nothing, and is reported when it is read later.
    """
    memory = Memory((piece,))
    page = min(os.sysconf("SC_PAGE_SIZE"), piece.size)
    try:
        return all(
            memory.read(at, page) == os.pread(fd, page, at) for at in (piece.phys, piece.end - page)
        )
    except (FaultError, OSError):
        return True
