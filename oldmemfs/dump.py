"""Dump: what a source gives: old memory in both its spaces, and the vmcore to be.

::

    present   what `vmcore` is laid over: physical addresses as they are now, or a core file
    memory    the dead kernel's physical addresses, the low 640 KiB put back from its backup
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from . import elfcore, procvmcore
from .errors import FormatError, OldmemError
from .layout import Layout
from .memory import Memory, Run, place
from .notes import processors, vmcoreinfo_text
from .ranges import Range, round_down, round_up
from .vmcoreinfo import Vmcoreinfo

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .elfcore import Header, Phdr
    from .identity import Identity
    from .kernel import Kernel
    from .options import Options
    from .panic import Panic
    from .printk import Log

# Above these, an address cannot be memory: the widest of the architecture (x86_64 and arm64 stop
# at 52 bits, riscv64 at 56).
_PHYSICAL_BITS = {elfcore.EM_386: 52, elfcore.EM_X86_64: 52, elfcore.EM_AARCH64: 52}
_WIDEST = 57


@dataclass(frozen=True)
class Dump:
    """A crashed machine's memory, opened."""

    source: str  # for people: where it is read from
    origin: str  # for people: where the header was found
    header: Header  # of `vmcore` as it is served
    core: Layout  # `vmcore`
    present: Memory
    memory: Memory
    notes: bytes
    cpus: tuple[bytes, ...]  # the notes of each processor; nothing of one that was offline
    page_size: int
    warnings: tuple[str, ...]
    physical: bool = False  # whether `present` goes by physical addresses

    @cached_property
    def vmcoreinfo(self) -> Vmcoreinfo:
        """What the dead kernel says of itself."""
        return Vmcoreinfo.parse(vmcoreinfo_text(self.notes, self.header.big_endian))

    @cached_property
    def located(self) -> Memory:
        """Of a core file: its offsets -> where those bytes lay in the dead kernel's memory."""
        return Memory(tuple(place(Run(p.offset, p.filesz, -1, p.paddr) for p in self.header.loads)))

    @cached_property
    def kernel(self) -> Kernel:
        """The dead kernel, readable by its own addresses.

        Raises ``FormatError`` where VMCOREINFO and the memory do not fit together.

        riscv64's header leaves out what was reserved early, the page tables too. Then what is
        there now counts.
        """
        found: Kernel | FormatError
        try:
            found = self._kernel(self.memory)
        except FormatError as error:
            found = error
        left_out = self.physical and self.header.machine == elfcore.EM_RISCV
        if left_out and (isinstance(found, FormatError) or not found.space.paging):
            around = place([*self.memory.runs, *self.present.runs])
            with contextlib.suppress(FormatError):
                return self._kernel(Memory(tuple(around), self.present.windows))
        if isinstance(found, FormatError):
            raise found
        return found

    def _kernel(self, memory: Memory) -> Kernel:
        from .kernel import Kernel

        loads = [(p.vaddr, p.paddr, p.memsz) for p in self.header.loads]
        machine, big_endian = self.header.machine, self.header.big_endian
        return Kernel.of(memory, self.vmcoreinfo, machine, big_endian, loads)

    @cached_property
    def log(self) -> Log:
        """The dead kernel's log. Raises ``FormatError`` or ``FaultError``."""
        from .printk import read_log

        return read_log(self.kernel, self.vmcoreinfo)

    @cached_property
    def panic(self) -> Panic | None:
        """What the log says of the crash, found once: a hostile log takes seconds."""
        from .panic import find_panic

        return find_panic(self.log)

    @cached_property
    def taint(self) -> int | OldmemError:
        """What had tainted the dead kernel, or why that is not known: the search is a long one."""
        from .taint import read_taint

        try:
            return read_taint(self.kernel, self.vmcoreinfo, self._symbols)
        except OldmemError as error:
            return error

    @cached_property
    def identity(self) -> Identity:
        """Which machine it was, as far as that can be learned."""
        from .identity import identify

        kernel, log = None, None
        symbols: dict[str, int] = {}
        with contextlib.suppress(OldmemError):
            kernel = self.kernel
        with contextlib.suppress(OldmemError):
            symbols = dict(self._symbols())
        with contextlib.suppress(OldmemError):
            log = self.log
        return identify(kernel, self.vmcoreinfo, symbols, log)

    def _symbols(self) -> Mapping[str, int]:
        found = self._search
        if isinstance(found, OldmemError):
            raise found.with_traceback(None)
        return found

    @cached_property
    def _search(self) -> Mapping[str, int] | OldmemError:
        """The symbols that are needed, or why they are not known: one search for all of them."""
        from .identity import SYMBOLS
        from .kallsyms import addresses
        from .taint import SYMBOL

        try:
            return addresses(self.kernel, self.vmcoreinfo, [SYMBOL, *SYMBOLS])
        except OldmemError as error:
            return error

    def with_warnings(self, warnings: Sequence[str]) -> Dump:
        """The same with these warnings in front."""
        return replace(self, warnings=(*warnings, *self.warnings))


def physical_limit(machine: int) -> int:
    """One past the highest physical address of an architecture."""
    return 1 << _PHYSICAL_BITS.get(machine, _WIDEST)


def wanted(header: Header, page_size: int) -> list[Range]:
    """The pages that the header's PT_LOADs and PT_NOTEs speak of, by present address."""
    kinds = (elfcore.PT_LOAD, elfcore.PT_NOTE)
    return [
        Range(round_down(p.offset, page_size), round_up(p.offset + p.memsz, page_size))
        for p in header.phdrs
        if p.type in kinds and p.memsz
    ]


def restored(
    present: Memory, loads: Sequence[Phdr], moved: Sequence[bool], page_size: int
) -> Memory:
    """The dead kernel's memory: every PT_LOAD's bytes back at its ``p_paddr``.

    A PT_LOAD that was not moved brings its whole first and last page; of one that was, only the
    bytes inside it are old memory. Moved ones go first: they are the truth for their range. One
    whose ``p_paddr`` no machine has is left out.
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
    return load.paddr + load.memsz <= 1 << _WIDEST


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
    """A dump from the header blob. ``page_size`` and ``release`` are the capture kernel's.

    Where they are not known (an image) they are taken to be the dead kernel's own, from
    VMCOREINFO; where that is missing too, 4096 and a kernel of today.
    """
    header, warnings = procvmcore.clamp(header, physical_limit(header.machine), known, origin)
    packed = bool(options.packed)
    found, more = procvmcore.read_notes(header, present, packed, origin, options.skip_notes)
    info = Vmcoreinfo.parse(vmcoreinfo_text(b"".join(found.values()), header.big_endian))
    page_size = options.page_size or page_size or info.page_size or 4096
    flavour = procvmcore.Flavour.of(release or (info.version if info.release else (7,)), page_size)
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
    """What is served as the kernel serves it, and worth a word."""
    kinds = [p.type for p in header.phdrs]
    notes = kinds.count(elfcore.PT_NOTE)
    if elfcore.PT_LOAD in kinds[:notes]:
        yield f"{origin}: a PT_LOAD stands before the last PT_NOTE and is lost, as in /proc/vmcore"
    if int.from_bytes(header.ehdr[32:40] if header.bits == 64 else header.ehdr[28:32],
                      "big" if header.big_endian else "little") != len(header.ehdr):  # fmt: skip
        yield f"{origin}: e_phoff is not the end of the ELF header; readers may be misled"
    lost = [p for p in header.loads if not _can_be_memory(p)]
    if lost:
        yield (f"{origin}: {len(lost)} PT_LOADs, first at {lost[0].paddr:#x}, are in no machine's "
               "memory; they are in `vmcore` but not in `oldmem`")  # fmt: skip
    if header.bits == 32 and any(p.offset >> 32 for p in merged.header.phdrs):
        yield f"{origin}: ELF32 with more than 4 GiB: p_offset wraps, as in /proc/vmcore"


def odd_page_size(options: Options, info: Vmcoreinfo) -> Iterator[str]:
    """``-o page_size=`` against what the dead kernel says: rarely meant."""
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
    """A dump whose `vmcore` is there already: ``present`` is addressed by its file offsets."""
    core = Layout()
    core.memory(0, size, "the core file")
    cpus = processors([notes], header.big_endian)
    return Dump(
        source, origin, header, core, present, memory, notes, cpus, page_size, tuple(warnings)
    )
