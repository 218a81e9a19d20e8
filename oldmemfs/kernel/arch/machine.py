# SPDX-License-Identifier: MIT
"""Machine: the facts that are needed of every machine, also of those without an ``Arch``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ...elf.registers import PrStatus

WIDEST = 57  # bits: no machine has wider physical addresses (riscv64: 56)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine that ELF has a number for."""

    name: str
    machine: int  # e_machine
    uname: tuple[str, ...] = ()  # further names that `uname -m` gives it
    little_name: str = ""  # its name in little endian, if that differs from ``name``
    physical_bits: int = WIDEST  # the width of a physical address
    status: PrStatus | None = None  # where an elf_prstatus has the registers
    # Loaders move memory only below this address; above, a PT_LOAD's memory lies at its p_paddr.
    # None: not known.
    moved_below: int | None = None
    # kexec-tools leaves early reserved memory, page tables included, out of the ELF header.
    header_omits_reserved: bool = False
    # The e_machine values that its capture kernel accepts, by ELF class (32, 64); a class that is
    # not here: only its own.
    takes: Mapping[int, Collection[int]] = field(default_factory=dict)

    @property
    def physical_limit(self) -> int:
        """One past the highest physical address."""
        return 1 << self.physical_bits

    def accepts(self, machine: int, bits: int) -> bool:
        """Whether its capture kernel accepts a header of this e_machine and ELF class."""
        return machine in self.takes.get(bits, (self.machine,))
