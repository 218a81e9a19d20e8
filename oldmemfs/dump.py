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
        """The dead kernel's log. Raises ``FormatError`` or ``FaultError``."""
        from .kernel.printk import read_log

        return read_log(self.kernel, self.vmcoreinfo)

    @cached_property
    def panic(self) -> Panic | None:
        """What the log says of the crash, found once: a hostile log takes seconds."""
        from .kernel.panic import find_panic

        return find_panic(self.log)

    @cached_property
    def taint(self) -> int | OldmemError:
        """What had tainted the dead kernel, or why that is not known: the search is a long one."""
        from .kernel.taint import read_taint

        try:
            return read_taint(self.kernel, self.vmcoreinfo, self._symbols)
        except OldmemError as error:
            return error

    @cached_property
    def identity(self) -> Identity:
        """Which machine it was, as far as that can be learned."""
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
        """The symbols that are needed, or why they are not known: one search for all of them."""
        from .kernel.identity import SYMBOLS
        from .kernel.kallsyms import addresses
        from .kernel.taint import SYMBOL

        try:
            return addresses(self.kernel, self.vmcoreinfo, [SYMBOL, *SYMBOLS])
        except OldmemError as error:
            return error

    def with_warnings(self, warnings: Sequence[str]) -> Dump:
        """The same with these warnings in front."""
        return replace(self, warnings=(*warnings, *self.warnings))
