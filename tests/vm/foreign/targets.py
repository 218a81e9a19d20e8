# SPDX-License-Identifier: MIT
"""The table: which kernels of which architectures crash, and in what machine."""

from __future__ import annotations

from dataclasses import dataclass, replace

# kexec takes the kernel's place from _text, which arm64's 6.1 does not name to users: without, it
# writes a PT_LOAD that no machine has, and reading /proc/vmcore takes the capture kernel down.
_NAME_TEXT = """
stext=$(sed -n "s/ . _stext$//p" /proc/kallsyms)
{ printf "%x T _text\\n" $((0x$stext - 0x10000)); cat /proc/kallsyms; } >/tmp/kallsyms
mount --bind /tmp/kallsyms /proc/kallsyms
"""
# makedumpfile refuses 52 bits of addresses and pages of 4 KiB, even where the processor has only 48
# and the kernel therefore no fifth level: it is told 48, in the copy of the core.
_MEND = """
at=$(strings -t d head | sed -n "s/^ *\\([0-9]*\\) NUMBER(VA_BITS)=52$/\\1/p")
bits() { printf $1 | dd of=/dev/vdb bs=1 seek=$((at + 16)) conv=notrunc,fsync 2>mended; }
bits 48
source=/dev/vdb
"""
NOTHING = ":"
_ALL_OF_IT = "dd if=/proc/vmcore of=/dev/vdb bs=1M 2>copied"


@dataclass(frozen=True, slots=True)
class Target:
    """An architecture, the kernel that crashes, and the machine that it crashes in."""

    arch: str  # as Debian calls it
    series: str
    flavour: str
    emulator: str
    package: str  # the emulator's
    board: str
    cpu: str
    console: str
    machine: str | None  # what oldmemfs calls the board, where its memory does not begin at 0
    word: int = 8
    loader: str = "c"
    memory_mib: int = 768
    crashkernel: str = "256M"
    cpus: int = 2
    tools: str | None = None  # the suite of kexec-tools, if not the kernel's
    oracle: str | None = None  # the suite of the makedumpfile that follows the kernel
    mend: str = ":"  # shell words before makedumpfile
    restore: str = ":"  # and after it
    levels: tuple[int, ...] = (31,)
    disk: str = ""  # more of QEMU's words for a disk
    live: int = 0  # bytes of old memory that the hypervisor goes on counting in
    prepare: str = ":"  # shell words before kexec
    copy: str = _ALL_OF_IT  # shell words that write /proc/vmcore to its disk


_I386 = Target(
    "i386", "6.1", "686-pae", "qemu-system-i386", "qemu-system-x86", "pc", "max", "ttyS0", "pc",
    word=4, memory_mib=1280, oracle="bookworm",
)  # fmt: skip
_ARM = Target(
    "arm64", "6.1", "cloud-arm64", "qemu-system-aarch64", "qemu-system-arm", "virt,gic-version=3",
    "cortex-a72", "ttyAMA0", "virt",
)  # fmt: skip
_POWER = Target(
    "ppc64el", "6.1", "powerpc64le", "qemu-system-ppc64", "qemu-system-ppc", "pseries",
    "power9", "hvc0", None, memory_mib=1024, crashkernel="384M", oracle="bookworm",
    disk=",vectors=0",  # emulated MSI-X interrupts get lost
    live=8,  # yield_count in each CPU's lppaca
)  # fmt: skip
TARGETS = {
    "i386": _I386,
    "i386-686": replace(_I386, flavour="686"),
    "arm64": replace(_ARM, oracle="bookworm", prepare=_NAME_TEXT),
    "arm64-stock": replace(_ARM, copy=NOTHING),
    "arm64-6.12": replace(_ARM, series="6.12", oracle="sid", mend=_MEND, restore="bits 52"),
    # 52 bits of addresses and a fifth level of page tables: no makedumpfile reads that
    "arm64-6.12-52": replace(_ARM, series="6.12", cpu="max"),
    "arm64-16k": replace(_ARM, series="6.12", flavour="arm64-16k", cpu="max"),
    "ppc64le": _POWER,
    "ppc64le-hash": replace(_POWER, cpu="power8"),
    "ppc64le-4k": replace(_POWER, series="6.12", oracle=None),  # 1.7.8 misreads its large leaves
    "ppc64le-6.12": replace(_POWER, series="6.12", flavour="powerpc64le-64k", oracle="sid"),
    "riscv64": Target(
        "riscv64", "6.12", "riscv64", "qemu-system-riscv64", "qemu-system-misc", "virt", "rv64",
        "ttyS0", "riscv-virt", tools="sid",
    ),
}  # fmt: skip
# About a minute each, two for the one with 52 bits. The others are crashed by hand.
ALWAYS = ("ppc64le", "arm64", "i386", "riscv64")
MORE = ("arm64-6.12-52", "arm64-6.12", "ppc64le-hash", "arm64-stock")
