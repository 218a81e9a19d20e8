# SPDX-License-Identifier: MIT
"""The architectures: each has one file here and one entry in ``ARCHES``."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from ...errors import FormatError
from . import aarch64, i386, ia64, others, ppc64, riscv64, s390x, x86_64
from .machine import Machine

if TYPE_CHECKING:
    from ...elf.header import Header
    from .space import Arch

__all__ = ["ARCHES", "Machine", "check_machine", "machine", "machine_name", "native", "pick"]

ARCHES = (
    x86_64.ARCH,
    aarch64.ARCH,
    riscv64.ARCH,
    s390x.ARCH,
    ppc64.ARCH,
    i386.ARCH,
    ia64.ARCH,
)
MACHINES: tuple[Machine, ...] = (*ARCHES, *others.MACHINES)


def pick(machine: int) -> Arch:
    """The architecture whose e_machine is ``machine``; ``FormatError`` if there is none here."""
    for arch in ARCHES:
        if arch.machine == machine:
            return arch
    names = ", ".join(arch.name for arch in ARCHES)
    raise FormatError(f"kernels of ELF machine {machine} are not supported, only {names}")


def machine(number: int) -> Machine:
    """The machine whose e_machine is ``number``; ``Machine``'s defaults if unknown."""
    for known in MACHINES:
        if known.machine == number:
            return known
    return Machine(name=f"e_machine {number}", machine=number)


def machine_name(header: Header) -> str:
    """The header's machine as `uname -m` calls it; POWER's depends on the byte order."""
    known = machine(header.machine)
    return known.name if header.big_endian else known.little_name or known.name


def native() -> Machine:
    """The running machine."""
    name = platform.machine()
    for known in MACHINES:
        if name in (known.name, known.little_name, *known.uname):
            return known
    return Machine(name=name, machine=0)


def check_machine(header: Header, native: str, where: str) -> None:
    """Refuse a header that a capture kernel on ``native`` (a ``Machine``'s name) would refuse.

    Raises ``FormatError``; ``where`` is what it names as the header's origin.
    """
    by_name = next((known for known in MACHINES if native in (known.name, known.little_name)), None)
    if by_name is None or not by_name.accepts(header.machine, header.bits):
        name = machine_name(header)
        raise FormatError(
            f"{where}: the header is for {name}, ELF{header.bits}; a capture kernel on {native} "
            "refuses it; use -o arch=any to read it all the same"
        )
