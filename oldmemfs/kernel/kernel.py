# SPDX-License-Identifier: MIT
"""Kernel: what is known of the dead kernel, and reads of its virtual addresses.

It is made from VMCOREINFO and checked at once: the release that VMCOREINFO states must be found in
memory. Its ``Memory`` must be in the dead kernel's physical addresses.
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

MAX_READ = 1 << 28  # bytes in one read; no structure is larger, a hostile size may be
_RELEASE = 130  # new_utsname: sysname, nodename, release, 65 bytes each


@dataclass(frozen=True, slots=True)
class Kernel:
    """The dead kernel; all sizes are bytes."""

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
        """The kernel that ``vmcoreinfo`` describes.

        ``machine`` is the ELF header's e_machine. ``loads`` are (virt, phys, size) of its PT_LOADs;
        they help where an old kernel's VMCOREINFO does not say where its image lies.

        Raises ``FormatError``, which says what is missing, wrong or not understood.
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
            raise FormatError(
                f"{arch.name}: {error}: this memory does not fit its VMCOREINFO"
            ) from error
        return kernel

    @property
    def page_shift(self) -> int:
        """The page size as a power of two."""
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
        """``[virt, virt + size)`` as (phys, size), neighbours joined; phys None: not mapped."""
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
        """Exactly ``size`` bytes at ``virt``.

        Raises ``FaultError`` if a byte is not mapped or cannot be read, ``FormatError`` if ``size``
        is more than ``MAX_READ``.
        """
        if not 0 <= size <= MAX_READ:
            raise FormatError(f"a structure of {size:#x} bytes is too large", virt)
        parts = []
        for phys, step in self.extents(virt, size):
            if phys is None:
                raise FaultError(virt, step)
            parts.append(self.memory.read(phys, step))
            virt += step
        return b"".join(parts)

    def u(self, virt: int, size: int | None = None) -> int:
        """The unsigned integer of ``size`` bytes at ``virt``; by default an unsigned long."""
        return int.from_bytes(self.read(virt, size or self.word), self.order)

    def _check(self) -> None:
        """Check that ``init_uts_ns`` holds the release that VMCOREINFO states.

        Without OFFSET(uts_namespace.name) the name is at 4, after a reference count, or at 0.
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
            f"VMCOREINFO says {release!r}, but init_uts_ns at {symbol:#x} holds {found[0]!r}"
        )
