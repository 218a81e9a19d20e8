# SPDX-License-Identifier: MIT
"""Dump: what a source gives: old memory in two address spaces, the header, notes and `vmcore`.

::

    present   what the layout of `vmcore` has addresses of: physical addresses as they are in the
              capture kernel; or, for a core file, offsets in that file
    memory    the dead kernel's physical addresses, with the low 640 KiB of x86, which kexec copied
              elsewhere before the capture kernel started, at their old place
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from .elf.notes import vmcoreinfo_text
from .errors import FormatError, OldmemError
from .kernel.arch import machine
from .kernel.vmcoreinfo import Vmcoreinfo
from .maps.memory import Memory, Run, place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .elf.header import Header
    from .kernel.identity import Identity
    from .kernel.kernel import Kernel
    from .kernel.panic import Panic
    from .kernel.printk import Log
    from .maps.layout import Layout


@dataclass(frozen=True)
class Dump:
    """The memory of a crashed machine, opened by a source; and what is derived from it, cached."""

    source: str  # the files that it is read from, for messages
    origin: str  # where the header was found, for messages
    header: Header  # of `vmcore` as it is served
    core: Layout  # of `vmcore`, over ``present``
    present: Memory
    memory: Memory
    notes: bytes  # of all PT_NOTEs
    cpus: tuple[bytes, ...]  # the notes of each processor; empty for one that was offline
    page_size: int  # bytes; the capture kernel's (of a core file: this machine's)
    warnings: tuple[str, ...]
    physical: bool = False  # whether ``present`` has physical addresses, not offsets in a file

    @cached_property
    def vmcoreinfo(self) -> Vmcoreinfo:
        """The keys of the VMCOREINFO note; without a note, none."""
        return Vmcoreinfo.parse(vmcoreinfo_text(self.notes, self.header.big_endian))

    @cached_property
    def located(self) -> Memory:
        """Of a core file: for its offsets, the dead kernel's physical addresses of those bytes.

        Each run's ``phys`` is the offset in the file, its ``offset`` the physical address.
        """
        return Memory(tuple(place(Run(p.offset, p.filesz, -1, p.paddr) for p in self.header.loads)))

    @cached_property
    def kernel(self) -> Kernel:
        """The dead kernel: its memory by virtual addresses.

        On riscv64 the header omits memory that was reserved early, page tables included. If they
        are not found in ``memory``, what ``present`` has at those addresses is used.

        Raises ``FormatError`` if VMCOREINFO is missing a key, or does not match the memory.
        """
        found: Kernel | FormatError
        try:
            found = self._kernel(self.memory)
        except FormatError as error:
            found = error
        left_out = self.physical and machine(self.header.machine).header_omits_reserved
        if left_out and (isinstance(found, FormatError) or not found.space.paging):
            around = place([*self.memory.runs, *self.present.runs])
            with contextlib.suppress(FormatError):
                return self._kernel(Memory(tuple(around), self.present.windows))
        if isinstance(found, FormatError):
            raise found
        return found

    def _kernel(self, memory: Memory) -> Kernel:
        from .kernel.kernel import Kernel

        loads = [(p.vaddr, p.paddr, p.memsz) for p in self.header.loads]
        machine, big_endian = self.header.machine, self.header.big_endian
        return Kernel.from_vmcoreinfo(memory, self.vmcoreinfo, machine, big_endian, loads)

    @cached_property
    def log(self) -> Log:
        """The dead kernel's log. Raises ``FormatError`` or ``FaultError``: see ``read_log``."""
        from .kernel.printk import read_log

        return read_log(self.kernel, self.vmcoreinfo)

    @cached_property
    def panic(self) -> Panic | None:
        """The cause of the crash according to the log. Cached: a hostile log takes seconds."""
        from .kernel.panic import find_panic

        return find_panic(self.log)

    @cached_property
    def taint(self) -> int | OldmemError:
        """The dead kernel's taint mask, or the error for which it is not known.

        The error is cached, too: searching the kernel's symbol table takes long.
        """
        from .kernel.taint import read_taint

        try:
            return read_taint(self.kernel, self.vmcoreinfo, self._symbols)
        except OldmemError as error:
            return error

    @cached_property
    def identity(self) -> Identity:
        """Version, command line, hardware, host name and uptime, as far as they can be read."""
        from .kernel.identity import identify

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
        """The addresses of all symbols that are needed, from one search; or its error."""
        from .kernel.identity import SYMBOLS
        from .kernel.kallsyms import addresses
        from .kernel.taint import SYMBOL

        try:
            return addresses(self.kernel, self.vmcoreinfo, [SYMBOL, *SYMBOLS])
        except OldmemError as error:
            return error

    def with_warnings(self, warnings: Sequence[str]) -> Dump:
        """A copy with these warnings before its own."""
        return replace(self, warnings=(*warnings, *self.warnings))
