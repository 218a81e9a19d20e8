"""Kernel: what is known of the dead kernel, and its virtual addresses -> bytes.

Made from VMCOREINFO alone, and tested when it is made: what it says of itself must be found in its
memory. Read through ``Memory``, which must be in the dead kernel's physical addresses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..errors import FaultError, FormatError
from . import arch as arches
from .arch.space import Evidence, Load
from .vmcoreinfo import PAGE_SIZES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..maps.memory import Memory
    from .arch.space import Arch, Space
    from .vmcoreinfo import Vmcoreinfo

MAX_READ = 1 << 28  # no structure is larger than 256 MiB: a hostile size ends here
_RELEASE = 130  # new_utsname: sysname, nodename, release, 65 bytes each


@dataclass(frozen=True, slots=True)
class Kernel:
    """The dead kernel."""

    memory: Memory
    info: Vmcoreinfo
    arch: Arch
    big_endian: bool
    page_size: int
    loads: tuple[Load, ...]
    space: Space

    @classmethod
    def from_vmcoreinfo(
        cls,
        memory: Memory,
        vmcoreinfo: Vmcoreinfo,
        machine: int,
        big_endian: bool,
        loads: Iterable[tuple[int, int, int]] = (),
    ) -> Kernel:
        """The kernel that ``vmcoreinfo`` describes; ``FormatError`` says what does not fit.

        ``loads`` are (virt, phys, size) of the ELF header's PT_LOADs, for kernels that say less.
        """
        arch = arches.pick(machine)
        page_size = vmcoreinfo.need("PAGESIZE", among=PAGE_SIZES)
        claims = tuple(Load(*load) for load in loads)
        evidence = Evidence(memory, vmcoreinfo, big_endian, page_size, claims)
        try:
            space = arch.space(evidence)
            kernel = cls(memory, vmcoreinfo, arch, big_endian, page_size, claims, space)
            kernel._check()
        except FaultError as error:
            raise FormatError(f"{arch.name}: {error}: this is not its memory") from error
        return kernel

    @property
    def page_shift(self) -> int:
        """The page size's logarithm."""
        return self.page_size.bit_length() - 1

    @property
    def word(self) -> int:
        """Bytes in an unsigned long."""
        return self.arch.word

    @property
    def order(self) -> Literal["little", "big"]:
        """The byte order, as ``int.from_bytes`` calls it."""
        return "big" if self.big_endian else "little"

    def extents(self, virt: int, size: int) -> Iterator[tuple[int | None, int]]:
        """``[virt, virt + size)`` as (phys, size), joined; phys is None where nothing is mapped."""
        start: int | None = None
        held = 0
        for phys, step in self.space.spans(virt, size):
            if held and (phys is start is None or (start is not None and phys == start + held)):
                held += step
                continue
            if held:
                yield start, held
            start, held = phys, step
        if held:
            yield start, held

    def phys(self, virt: int) -> int:
        """The physical address of ``virt``; ``FaultError`` if it is not mapped."""
        phys = next(self.space.spans(virt, 1)).phys
        if phys is None:
            raise FaultError(virt, 1)
        return phys

    def read(self, virt: int, size: int) -> bytes:
        """Exactly ``size`` bytes at ``virt``; ``FaultError`` if one is not mapped or not there."""
        if not 0 <= size <= MAX_READ:
            raise FormatError(f"a structure of {size:#x} bytes", virt)
        parts = []
        for phys, step in self.extents(virt, size):
            if phys is None:
                raise FaultError(virt, step)
            parts.append(self.memory.read(phys, step))
            virt += step
        return b"".join(parts)

    def u(self, virt: int, size: int | None = None) -> int:
        """The unsigned integer of ``size`` bytes (a word) at ``virt``."""
        return int.from_bytes(self.read(virt, size or self.word), self.order)

    def _check(self) -> None:
        """The release that VMCOREINFO states must stand in ``init_uts_ns``.

        Where OFFSET(uts_namespace.name) is not said, a 4-byte reference count led, or nothing did.
        """
        release = self.info.release
        if not release:
            raise self.info.missing("OSRELEASE")
        symbol = self.info.symbol("init_uts_ns")
        if symbol is None:
            return
        name = self.info.offset("uts_namespace.name")
        found = []
        for offset in (4, 0) if name is None else (name,):
            text = self.read(symbol + offset + _RELEASE, 65).split(b"\0", 1)[0]
            if text == release.encode("ascii", "replace"):
                return
            found.append(text)
        raise FormatError(
            f"VMCOREINFO is of {release!r}, init_uts_ns at {symbol:#x} of {found[0]!r}"
        )
