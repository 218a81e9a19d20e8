"""The architectures: one file and one name in the tuple for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import FormatError
from . import aarch64, i386, ia64, ppc64, riscv64, s390x, x86_64

if TYPE_CHECKING:
    from .space import Arch

ARCHES = (
    x86_64.ARCH,
    aarch64.ARCH,
    riscv64.ARCH,
    s390x.ARCH,
    ppc64.ARCH,
    i386.ARCH,
    ia64.ARCH,
)


def pick(machine: int) -> Arch:
    """The architecture that ELF calls ``machine``."""
    for arch in ARCHES:
        if arch.machine == machine:
            return arch
    names = ", ".join(arch.name for arch in ARCHES)
    raise FormatError(f"kernels of ELF machine {machine} are not understood, only {names}")
