"""Machine: what is known of every machine, whether its kernels are understood or not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ...elf.registers import PrStatus

WIDEST = 57  # bits of a physical address, of any machine: riscv64 stops at 56


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine that ELF has a number for."""

    name: str
    machine: int  # e_machine
    uname: tuple[str, ...] = ()  # what `uname -m` calls it, if not by ``name``
    little_name: str = ""  # what it is called in little endian, if that is not usual
    physical_bits: int = WIDEST  # no memory is above these
    status: PrStatus | None = None  # where an elf_prstatus has the registers
    # From this address up no loader moves memory: p_paddr says where it lies. None: not known.
    moved_below: int | None = None
    # kexec-tools leaves what was reserved early out of the ELF header, the page tables too.
    header_omits_reserved: bool = False
    # The e_machine of the headers that its capture kernel takes, by ELF class (32, 64), where that
    # is not just its own.
    takes: Mapping[int, Collection[int]] = field(default_factory=dict)

    @property
    def physical_limit(self) -> int:
        """One past the highest physical address."""
        return 1 << self.physical_bits

    def accepts(self, machine: int, bits: int) -> bool:
        """Whether its capture kernel takes a header of this e_machine and ELF class."""
        return machine in self.takes.get(bits, (self.machine,))
