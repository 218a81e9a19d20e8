# SPDX-License-Identifier: MIT
"""Building a Dump: from the header blob in memory, or from a file that is an ELF core already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..dump import Dump
from ..elf import procvmcore
from ..elf.header import PT_LOAD, PT_NOTE
from ..elf.notes import processors, vmcoreinfo_text
from ..kernel.arch import machine
from ..kernel.arch.machine import WIDEST
from ..kernel.vmcoreinfo import Vmcoreinfo
from ..maps.layout import Layout
from ..maps.memory import Memory, Run, place
from ..ranges import Range, round_down, round_up

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..elf.header import Header, Phdr
    from ..options import Options


def wanted(header: Header, page_size: int) -> list[Range]:
    """The present physical addresses of the PT_LOADs and PT_NOTEs, rounded out to pages."""
    kinds = (PT_LOAD, PT_NOTE)
    return [
        Range(round_down(p.offset, page_size), round_up(p.offset + p.memsz, page_size))
        for p in header.phdrs
        if p.type in kinds and p.memsz
    ]


def restored(
    present: Memory, loads: Sequence[Phdr], moved: Sequence[bool], page_size: int
) -> Memory:
    """The dead kernel's memory: the bytes of each PT_LOAD at its ``p_paddr``.

    ``present`` is addressed by p_offset. ``moved`` says of each PT_LOAD whether a loader copied it
    to another place before the capture kernel started. One that was not moved counts with its whole
    first and last page; of one that was moved, only the bytes inside it are old memory. Where two
    overlap, the moved one counts, because its copy was made before the range was used again. A
    PT_LOAD with a ``p_paddr`` beyond ``WIDEST`` bits is left out.
    """

    def runs(p: Phdr, whole_pages: bool) -> Iterator[Run]:
        start, end = p.offset, p.offset + p.memsz
        if whole_pages:
            start, end = round_down(start, page_size), round_up(end, page_size)
        for piece in present.pieces(start, end):
            if isinstance(piece, Run):
                yield piece.part(piece.phys, piece.end, to=piece.phys - p.offset + p.paddr)

    fit = [load for load in zip(loads, moved, strict=True) if _can_be_memory(load[0])]
    order = sorted(fit, key=lambda load: not load[1])
    placed = place(run for p, was_moved in order for run in runs(p, not was_moved))
    return Memory(tuple(placed), present.windows)


def _can_be_memory(load: Phdr) -> bool:
    return load.paddr + load.memsz <= 1 << WIDEST


def from_blob(
    header: Header,
    present: Memory,
    options: Options,
    *,
    source: str,
    origin: str,
    page_size: int | None,
    release: tuple[int, ...] | None,
    known: list[Range] | None,
) -> Dump:
    """A dump of a machine's memory, from the header blob in it.

    ``present`` has the memory by its present physical addresses, and ``known`` are its ranges if
    they are known. ``origin`` says in messages where the blob was found. ``page_size`` (bytes) and
    ``release`` are the capture kernel's; if they are None (an image), the dead kernel's are taken
    from VMCOREINFO, and without VMCOREINFO 4096 and the layout of current kernels.

    Raises ``FormatError`` as ``procvmcore.read_notes`` and ``procvmcore.merge`` do.
    """
    header, warnings = procvmcore.clamp(
        header, machine(header.machine).physical_limit, known, origin
    )
    packed = bool(options.packed)
    found, more = procvmcore.read_notes(header, present, packed, origin, options.skip_notes)
    info = Vmcoreinfo.parse(vmcoreinfo_text(b"".join(found.values()), header.big_endian))
    page_size = options.page_size or page_size or info.page_size or 4096
    flavour = procvmcore.Flavour.for_release(
        release or (info.version if info.release else (7,)), page_size
    )
    if options.packed is None and flavour.packed:
        found, more = procvmcore.read_notes(header, present, True, origin, options.skip_notes)
    flavour = procvmcore.Flavour(
        page_size,
        flavour.note_align if options.note_align is None else options.note_align,
        flavour.packed if options.packed is None else options.packed,
    )
    merged = procvmcore.merge(header, found, flavour, origin)
    moved = [p.offset != p.paddr for p in header.loads]
    return Dump(
        source=source,
        origin=origin,
        header=merged.header,
        core=merged.layout(),
        present=present,
        memory=restored(present, header.loads, moved, page_size),
        notes=merged.notes,
        cpus=processors(found.values(), header.big_endian),
        page_size=page_size,
        warnings=(*warnings, *more, *odd(header, merged, origin), *odd_page_size(options, info)),
        physical=True,
    )


def odd(header: Header, merged: procvmcore.Merged, origin: str) -> Iterator[str]:
    """Warnings about oddities of the header that `vmcore` repeats just as the kernel does."""
    kinds = [p.type for p in header.phdrs]
    notes = kinds.count(PT_NOTE)
    if PT_LOAD in kinds[:notes]:
        yield f"{origin}: a PT_LOAD comes before the last PT_NOTE and is lost, as in /proc/vmcore"
    if int.from_bytes(header.ehdr[32:40] if header.bits == 64 else header.ehdr[28:32],
                      "big" if header.big_endian else "little") != len(header.ehdr):  # fmt: skip
        yield f"{origin}: e_phoff does not point behind the ELF header; readers may fail"
    lost = [p for p in header.loads if not _can_be_memory(p)]
    if lost:
        yield (f"{origin}: {len(lost)} PT_LOADs, first at {lost[0].paddr:#x}, have physical "
               "addresses that no machine has; these are in `vmcore`, not in `oldmem`")  # fmt: skip
    if header.bits == 32 and any(p.offset >> 32 for p in merged.header.phdrs):
        yield f"{origin}: ELF32 with more than 4 GiB: p_offset wraps, as in /proc/vmcore"


def odd_page_size(options: Options, info: Vmcoreinfo) -> Iterator[str]:
    """A warning if ``-o page_size=`` differs from VMCOREINFO's PAGESIZE: it is rarely intended."""
    given, said = options.page_size, info.page_size
    if given and said and given != said:
        yield (f"-o page_size={given}: VMCOREINFO says PAGESIZE={said}; this is right only if the "
               "capture kernel's pages had another size than the dead kernel's")  # fmt: skip


def of_file(
    header: Header,
    present: Memory,
    memory: Memory,
    *,
    source: str,
    origin: str,
    size: int,
    notes: bytes,
    page_size: int,
    warnings: Sequence[str],
) -> Dump:
    """A dump whose `vmcore` exists already as a file of ``size`` bytes.

    ``present`` is addressed by offsets in that file, ``memory`` by the dead kernel's physical
    addresses. ``notes`` are the bytes of its PT_NOTEs.
    """
    core = Layout()
    core.memory(0, size, "the core file")
    cpus = processors([notes], header.big_endian)
    return Dump(
        source, origin, header, core, present, memory, notes, cpus, page_size, tuple(warnings)
    )
