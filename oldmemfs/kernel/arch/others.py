# SPDX-License-Identifier: MIT
"""Machines without an ``Arch``: of their dumps only `vmcore` and the registers are shown."""

from ...elf.header import EM_486, EM_ARM, EM_LOONGARCH, EM_MIPS, EM_PPC, EM_SH
from ...elf.registers import narrow, numbered, wide
from .machine import Machine
from .ppc64 import REGISTERS

MACHINES = (
    Machine(name="i486", machine=EM_486),
    Machine(
        name="mips",
        machine=EM_MIPS,
        status=wide(*numbered("r", 32), "lo", "hi", "epc", "badvaddr", "status", "cause"),
    ),
    Machine(
        name="ppc",
        machine=EM_PPC,
        status=narrow(*("mq" if name == "softe" else name for name in REGISTERS)),
    ),
    Machine(
        name="arm",
        machine=EM_ARM,
        uname=("armv7l",),
        status=narrow(*numbered("r", 11), "fp", "ip", "sp", "lr", "pc", "cpsr", "orig_r0"),
        takes={64: ()},
    ),
    Machine(name="sh", machine=EM_SH),
    Machine(
        name="loongarch64",
        machine=EM_LOONGARCH,
        status=wide(*numbered("r", 32), "orig_a0", "era", "badv"),
    ),
)
