"""`python -m tests.vm.foreign [TARGET...]`: real crashes of other architectures than the host's.

QEMU emulates the machine, a busybox shell is all that runs in it. Its memory stays behind, and what
oldmemfs on the host makes of that is held against what the capture kernel wrote to disks:
/proc/vmcore, vmcore-dmesg's log, and the pages that makedumpfile keeps.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import struct
import sys
import tarfile
import tempfile
import time
import traceback
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from oldmemfs.filtered import filtered
from oldmemfs.memmap import memory_map
from oldmemfs.options import Options
from oldmemfs.pages import classify, sections
from oldmemfs.plan import Plan
from oldmemfs.printk import as_text
from oldmemfs.ranges import Range
from oldmemfs.rules import Rules
from oldmemfs.sources import open_source

from . import kernels, programs
from .artifacts import header_address
from .cache import filling
from .guest.firstlook import as_vmcore_dmesg
from .guest.oracle import Bitmap, bitmaps, dump_head
from .machine import Machine
from .tools import HostError, find, run
from .tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from oldmemfs.dump import Dump
    from oldmemfs.kept import Kept

MIB = 1 << 20
PANIC = "Kernel panic - not syncing: sysrq triggered crash"
_GUEST = Path(__file__).parent / "guest"
_DISKS = ("report", "core", "dumps", "flags")
_MODULES = ("virtio_pci", "virtio_blk")
_FLAGS_MIB = 16
# Bits of /proc/kpageflags: page cache, free, anonymous, hugetlb, poisoned, huge, offline.
_DROPPED = sum(1 << bit for bit in (5, 10, 12, 17, 19, 22, 23))
_EVERYTHING = Range(0, 1 << 40)
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
_NOTHING = ":"
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
# About a minute each, two for the one with 52 bits.
TESTED = {
    "i386": _I386,
    "arm64": replace(_ARM, oracle="bookworm", prepare=_NAME_TEXT),
    "arm64-stock": replace(_ARM, copy=_NOTHING),
    "arm64-6.12": replace(_ARM, series="6.12", oracle="sid", mend=_MEND, restore="bits 52"),
    # 52 bits of addresses and a fifth level of page tables: no makedumpfile reads that
    "arm64-6.12-52": replace(_ARM, series="6.12", cpu="max"),
    "ppc64le": _POWER,
    "ppc64le-hash": replace(_POWER, cpu="power8"),
    "riscv64": Target(
        "riscv64", "6.12", "riscv64", "qemu-system-riscv64", "qemu-system-misc", "virt", "rv64",
        "ttyS0", "riscv-virt", tools="sid",
    ),
}  # fmt: skip
TARGETS = {  # and those that are crashed by hand
    **TESTED,
    "i386-686": replace(_I386, flavour="686"),
    "arm64-16k": replace(_ARM, series="6.12", flavour="arm64-16k", cpu="max"),
    "ppc64le-4k": replace(_POWER, series="6.12", oracle=None),  # 1.7.8 misreads its large leaves
    "ppc64le-6.12": replace(_POWER, series="6.12", flavour="powerpc64le-64k", oracle="sid"),
}


@dataclass(frozen=True)
class Crashed:
    """A machine that has crashed, and what its capture kernel wrote."""

    target: Target
    machine: Machine
    seconds: float

    @cached_property
    def report(self) -> dict[str, bytes]:
        """The small files."""
        found = {}
        with (
            contextlib.suppress(tarfile.ReadError),  # nothing was written
            tarfile.open(self.machine.work / "report") as archive,
        ):
            for member in archive:
                if file := archive.extractfile(member):
                    found[member.name.removeprefix("./")] = file.read()
        return found

    def text(self, name: str) -> str:
        return self.report[name].decode(errors="replace").strip()

    @property
    def size(self) -> int:
        """Of /proc/vmcore."""
        return int(self.text("size"))

    @property
    def core(self) -> Path:
        return self.machine.work / "core"

    def header(self) -> int:
        """The address of the ELF header that the capture kernel was told."""
        if told := self.report.get("elfcorehdr"):
            return int(struct.unpack_from(">Q", told)[0])
        return header_address(self.text("cmdline"))

    def bitmaps(self, level: int) -> tuple[Bitmap, Bitmap]:
        """What is memory, and what makedumpfile keeps of it at a level."""
        target = self.target
        with (self.machine.work / "dumps").open("rb") as file:
            file.seek(target.levels.index(level) * _slot(target) * MIB)
            return bitmaps(dump_head(file), 428 if target.word == 8 else 416)

    def options(self, *, searched: bool = False) -> Options:
        header = None if searched else self.header()
        return Options(source="raw", machine=self.target.machine, elfcorehdr=header)

    @cached_property
    def dump(self) -> Dump:
        return open_source(str(self.machine.ram), self.options())

    def mounted(self) -> AbstractContextManager[Path]:
        """The machine's memory, as oldmemfs on the host gives it."""
        words = [f"elfcorehdr={self.header():#x}"]
        if self.target.machine:
            words.append(f"machine={self.target.machine}")
        return self.machine.mounted(*words)


def _slot(target: Target) -> int:
    """MiB of disk for one dump."""
    return target.memory_mib + 64


def lacking(target: Target) -> str:
    """The program that this host lacks; empty if it has all."""
    for program, package in ((target.emulator, target.package), ("cpio", "cpio")):
        if find(program) is None:
            return f"{program} ({package})"
    return ""


def crash(target: Target, work: Path) -> Crashed:
    """Build the images in a folder, run the machine in it until it has written all."""
    with filling():
        kernel = kernels.fetch(target.series, arch=target.arch, flavour=target.flavour)
        initrd = _build(target, kernel, work)
    sizes = {"report": 64, "core": _slot(target), "dumps": _slot(target) * len(target.levels),
             "flags": _FLAGS_MIB}  # fmt: skip
    devices: list[str] = []
    for name in _DISKS:
        disk = work / name
        with disk.open("wb") as file:
            file.truncate(sizes[name] * MIB)
        devices += ["-drive", f"file={disk},format=raw,if=none,cache=unsafe,id={name}"]
        devices += ["-device", f"virtio-blk-pci,drive={name}{target.disk}"]
    machine = Machine(
        work, target.memory_mib, target.cpus, target.cpu, tuple(devices), target.emulator,
        target.board,
    )  # fmt: skip
    began = time.monotonic()
    command = f"console={target.console} panic=-1 crashkernel={target.crashkernel}"
    machine.run(kernel.vmlinuz, initrd, command, timeout=900)
    crashed = Crashed(target, machine, time.monotonic() - began)
    if "end" not in crashed.report:
        raise HostError(f"the capture kernel did not come to its end:\n{machine.tail()}")
    if target.copy != _NOTHING:
        os.truncate(crashed.core, crashed.size)
    return crashed


def _build(target: Target, kernel: kernels.Kernel, work: Path) -> Path:
    suite = kernels.SUITES[target.series]
    tools = programs.fetch(
        target.tools or suite, target.arch, "kexec-tools", ("kexec", "vmcore-dmesg")
    )
    base = Tree(work / "base")
    base.write("init", (_GUEST / "foreign-init.sh").read_text(), 0o755)
    shell = programs.fetch(suite, target.arch, "busybox-static", ("busybox",))
    base.write("bin/busybox", (shell / "busybox").read_bytes(), 0o755)
    for path in tools.iterdir():
        base.write(f"tools/{path.name}", path.read_bytes(), 0o755)
    for number, module in enumerate(_modules(kernel)):
        base.write(f"modules/{number:02}", module)

    capture = base.copy_of(work / "capture")
    if target.oracle:
        made = programs.fetch(target.oracle, target.arch, "makedumpfile", ("makedumpfile",))
        for path in made.iterdir():
            capture.write(f"oracle/{path.name}", path.read_bytes(), 0o755)
    levels = " ".join(map(str, target.levels))
    capture.write(
        "settings",
        f"copy='{target.copy}'\nmend='{target.mend}'\nrestore='{target.restore}'\n"
        f"levels='{levels}'\nslot_mib={_slot(target)}\n",
    )
    capture.write("life", (_GUEST / "foreign-capture.sh").read_text())
    capture.pack(work / "capture.img", "gzip -1c")

    command = f"console={target.console} nr_cpus=1 maxcpus=1 reset_devices panic=-1"
    base.write("capture.img", (work / "capture.img").read_bytes())
    base.write("vmlinuz", kernel.vmlinuz.read_bytes())
    base.write(
        "settings",
        f"loader={target.loader}\ncapture='{command}'\nprepare='{target.prepare}'\n",
    )
    base.write("life", (_GUEST / "foreign-first.sh").read_text())
    image = work / "first.img"
    base.pack(image, "cat")
    for tree in (base, capture):
        shutil.rmtree(tree.root)
    return image


def _modules(kernel: kernels.Kernel) -> list[bytes]:
    """The modules for disks, each after those that it needs."""
    found: dict[str, bytes] = {}

    def add(name: str) -> None:
        data = None if name in found else kernel.module(name)
        if data is not None:
            needs = re.search(rb"\0depends=([^\0]*)\0", data)
            for other in (needs[1].decode() if needs else "").split(","):
                if other:
                    add(other.replace("-", "_"))
            found[name] = data

    for name in _MODULES:
        add(name)
    return list(found.values())


# The checks. Each answers with what it has seen, and raises AssertionError.


def check_search(crashed: Crashed) -> str:
    """Without elfcorehdr= the same header is found."""
    dump = open_source(str(crashed.machine.ram), crashed.options(searched=True))
    assert dump.origin == f"{crashed.machine.ram} at {crashed.header():#x}", dump.origin
    return f"found at {crashed.header():#x}"


def check_vmcore(crashed: Crashed) -> str:
    """`vmcore` is /proc/vmcore, in the mount."""
    with crashed.mounted() as mount:
        assert (mount / "vmcore").stat().st_size == crashed.size
        with (mount / "vmcore").open("rb") as ours, crashed.core.open("rb") as theirs:
            different = [at for at in range(0, crashed.size, MIB)
                         for at in _different(at, ours.read(MIB), theirs.read(MIB))]  # fmt: skip
        digest = run(["sha256sum", mount / "vmcore"]).split()[0]
    told = f"{crashed.size} bytes, sha256 {digest}"
    if different:
        told += f", {len(different)} bytes differ, first {different[0]:#x}"
    assert len(different) <= crashed.target.live, told
    return told


def _different(at: int, ours: bytes, theirs: bytes) -> list[int]:
    if ours == theirs:
        return []
    pairs = zip(ours, theirs, strict=False)
    return [at + i for i, (one, other) in enumerate(pairs) if one != other]


def check_oldmem(crashed: Crashed) -> str:
    """`oldmem` has what `vmcore` has, at its physical addresses."""
    size = 0
    with (
        crashed.mounted() as mount,
        (mount / "oldmem").open("rb") as old,
        (mount / "vmcore").open("rb") as core,
    ):
        for load in crashed.dump.header.loads:
            for at in range(0, load.memsz, MIB):
                piece = min(MIB, load.memsz - at)
                old.seek(load.paddr + at)
                core.seek(load.offset + at)
                assert old.read(piece) == core.read(piece), f"{load.paddr + at:#x}"
            size += load.memsz
    return f"{size} bytes"


def check_clamped(crashed: Crashed) -> str:
    """The PT_LOAD that cannot be memory is left out; the others are the machine's memory."""
    dump = crashed.dump
    assert [w for w in dump.warnings if "cannot be memory" in w], dump.warnings
    base = dump.present.ranges[0].start
    with crashed.machine.ram.open("rb") as ram:
        plan = Plan(dump.core, dump.present)
        for load in dump.header.loads:
            for at in range(0, load.memsz, MIB):
                piece = min(MIB, load.memsz - at)
                ram.seek(load.paddr + at - base)
                data, faults = plan.table.read(load.offset + at, piece)
                assert not faults
                assert data == ram.read(piece), f"{load.paddr + at:#x}"
    return f"{plan.size} bytes, in the guest {crashed.text('size')}"


def check_saved(crashed: Crashed) -> str:
    """A saved /proc/vmcore tells the same, as far as page tables are in it."""
    saved = open_source(str(crashed.core), Options())
    assert as_text(saved.log) == as_text(crashed.dump.log)
    if crashed.dump.kernel.space.paging and not saved.kernel.space.paging:
        return "the log; the page tables are not in it"
    parts = [filtered(dump.kernel, dump.header, dump.notes, 31) for dump in (saved, crashed.dump)]
    assert parts[0].report() == parts[1].report()
    assert parts[0].classes.kept.bits == parts[1].classes.kept.bits
    return "the log, the pages, the report"


def check_dmesg(crashed: Crashed) -> str:
    """`dmesg` is what the tools print."""
    with crashed.mounted() as mount:
        ours = (mount / "dmesg").read_bytes()
        json_lines = (mount / "dmesg.json").read_bytes().splitlines()
    assert PANIC.encode() in ours
    assert all(json.loads(line) for line in json_lines)
    seen = []
    theirs = crashed.report["vmcore-dmesg"]
    if theirs:
        assert ours == theirs, _difference(ours, theirs)
        seen.append("vmcore-dmesg")
    if theirs := crashed.report.get("makedumpfile-dmesg", b""):
        theirs = as_vmcore_dmesg(theirs)
        assert ours == theirs, _difference(ours, theirs)
        seen.append("makedumpfile")
    assert seen, crashed.text("vmcore-dmesg.said")
    return f"{len(ours)} bytes, {len(json_lines)} records, as {' and '.join(seen)}"


def _difference(ours: bytes, theirs: bytes) -> str:
    for a, b in zip(ours.splitlines(), theirs.splitlines(), strict=False):
        if a != b:
            return f"{a!r}, not {b!r}"
    return f"{len(ours)} bytes, not {len(theirs)}"


def check_summary(crashed: Crashed) -> str:
    """`summary` names kernel, panic, processor."""
    with crashed.mounted() as mount:
        text = (mount / "summary").read_text()
        fields = json.loads((mount / "summary.json").read_bytes())
    wanted = {
        "release": crashed.text("release"), "panic": PANIC, "cpu": crashed.target.cpus - 1,
        "cpus": crashed.target.cpus, "registers_agree": True,
    }  # fmt: skip
    seen = {name: fields.get(name) for name in wanted}
    assert seen == wanted, f"{seen}\n{text}"
    return f"{fields['machine']} {fields['release']}, CPU {fields['cpu']}, pid {fields['pid']}"


def check_registers(crashed: Crashed) -> str:
    """Every processor has registers, and an instruction pointer in the kernel."""
    seen = []
    with crashed.mounted() as mount:
        for cpu in range(crashed.target.cpus):
            lines = (mount / f"cpu/{cpu}/registers").read_text().splitlines()
            found = dict(line.split()[:2] for line in lines if len(line.split()) > 1)
            name = next(n for n in ("eip", "pc", "nip", "rip", "epc") if n in found)
            pointer = int(found[name], 16)
            assert pointer > crashed.dump.kernel.arch.kernel_base, f"CPU {cpu}: {found}"
            seen.append(f"CPU {cpu} {name} {pointer:#x}")
    return ", ".join(seen)


def check_pages(crashed: Crashed) -> str:
    """At every level the pages that makedumpfile keeps; zero pages are in its second bitmap."""
    seen = []
    for level in crashed.target.levels:
        memory, kept = crashed.bitmaps(level)
        ours = _kept(crashed, level)
        theirs = {pfn for pfn in _whole(crashed) if pfn in kept}
        lost, more = sorted(theirs - ours), sorted(ours - theirs)
        told = f"-d {level}: {len(ours)} of {memory.count()} pages kept"
        assert not lost, f"{told}; lost {len(lost)}, first {lost[0]:#x}, more {len(more)}"
        assert not more, f"{told}; more {len(more)}, first {more[0]:#x}"
        seen.append(told)
    return "; ".join(seen)


def check_flags(crashed: Crashed) -> str:
    """At level 31 the pages that the kernel itself called its own, a moment before its crash."""
    with (crashed.machine.work / "flags").open("rb") as file:
        flags = struct.unpack(f"<{_FLAGS_MIB * MIB // 8}Q", file.read())
    whole = _whole(crashed)
    ours = _kept(crashed, 31)
    theirs = {pfn for pfn in whole if not flags[pfn] & _DROPPED}
    lost, more = len(theirs - ours), len(ours - theirs)
    told = f"{len(ours)} of {len(whole)} pages kept, {len(theirs)} by kpageflags; "
    told += f"{lost} of them not here, {more} only here"
    assert lost + more < len(whole) / 50, told
    return told


def _whole(crashed: Crashed) -> set[int]:
    """The pages that the PT_LOADs have all of; makedumpfile judges no others."""
    size = crashed.dump.page_size
    return {
        pfn
        for load in crashed.dump.header.loads
        for pfn in range(-(-load.paddr // size), (load.paddr + load.memsz) // size)
    }


def _kept(crashed: Crashed, level: int) -> set[int]:
    """The pages that are kept at a level, zero pages with them."""
    dead = crashed.dump.kernel
    rules = Rules.of(dead.info, dead.arch.name, dead.word, big_endian=dead.big_endian)
    loads = [Range(p.paddr, p.paddr + p.memsz) for p in crashed.dump.header.loads]
    maps = sections(dead, memory_map(dead))
    found = classify(dead.memory, loads, maps, rules, level & ~1)
    return _pfns(found.kept) & _whole(crashed)


def _pfns(kept: Kept) -> set[int]:
    return {pfn for run in kept.runs(_EVERYTHING) for pfn in range(*run)}


def check_kern(crashed: Crashed) -> str:
    """`vmcore-kern` has every page kept, byte for byte, and zeros for the others."""
    dump = crashed.dump
    page = dump.kernel.page_size
    result = filtered(dump.kernel, dump.header, dump.notes, 31)
    keep = _pfns(result.classes.kept)
    plan = Plan(result.core.layout, dump.memory)
    seen: set[int] = set()
    for phdr in result.core.header.loads:
        first, last = phdr.paddr // page, (phdr.paddr + phdr.memsz - 1) // page
        for pfn in range(first, last + 1):
            start = max(pfn * page, phdr.paddr)
            size = min((pfn + 1) * page, phdr.paddr + phdr.memsz) - start
            data, faults = plan.table.read(phdr.offset + start - phdr.paddr, size)
            assert not faults
            if not phdr.filesz:
                data = bytes(size)
            if pfn in keep or not phdr.filesz:
                assert data == dump.memory.read(start, size), hex(pfn)
                seen.add(pfn)
            else:
                assert not any(data), hex(pfn)
    missing = keep - seen
    assert not missing, f"{len(missing)} pages kept are not there, first {min(missing):#x}"
    assert not result.restored, result.restored
    return f"{plan.size} bytes, {len(keep)} pages; doubts {result.doubts}"


CHECKS: dict[str, Callable[[Crashed], str]] = {
    name.removeprefix("check_"): function
    for name, function in list(globals().items())
    if name.startswith("check_")
}


def without(target: Target, name: str) -> str:
    """Why a target goes without a check; empty if it does not."""
    if (name == "clamped") != (target.copy == _NOTHING):
        if name == "clamped":
            return "all PT_LOADs are memory"
        if name in ("vmcore", "dmesg", "pages", "saved"):
            return "reading /proc/vmcore takes this capture kernel down"
    if name == "pages" and not target.oracle:
        return "no makedumpfile follows this kernel"
    return ""


def main() -> int:
    """Exit status 0: all checks held; 1: some did not; 2: a crash could not be made."""
    parser = argparse.ArgumentParser(prog="python -m tests.vm.foreign", description=__doc__)
    parser.add_argument("targets", nargs="*", default=list(TESTED), metavar="TARGET",
                        help=", ".join(TARGETS))  # fmt: skip
    parser.add_argument("--cpu", help="QEMU's CPU model")
    parser.add_argument("--loader", choices=("s", "c"), help="kexec -s or -c")
    parser.add_argument("--levels", help="makedumpfile's, as 31,16")
    parser.add_argument("--work", type=Path, help="keep everything in this folder")
    parser.add_argument("--again", action="store_true", help="only check what is in --work")
    options = parser.parse_args()
    failed = False
    for name in options.targets:
        target = TARGETS[name]
        if options.cpu:
            target = replace(target, cpu=options.cpu)
        if options.loader:
            target = replace(target, loader=options.loader)
        if options.levels:
            target = replace(target, levels=tuple(map(int, options.levels.split(","))))
        with tempfile.TemporaryDirectory(prefix="oldmemfs-vm-") as folder:
            work = options.work / name if options.work else Path(folder)
            work.mkdir(parents=True, exist_ok=True)
            try:
                crashed = _old(target, work) if options.again else crash(target, work)
            except HostError as error:
                print(f"{name}: {error}", file=sys.stderr)
                return 2
            print(f"{name}: crashed in {crashed.seconds:.0f} s", flush=True)
            failed |= not _show(name, crashed)
    return int(failed)


def _old(target: Target, work: Path) -> Crashed:
    machine = Machine(work, target.memory_mib, target.cpus, target.cpu)
    return Crashed(target, machine, 0)


def _show(name: str, crashed: Crashed) -> bool:
    good = True
    for word, check in CHECKS.items():
        if reason := without(crashed.target, word):
            print(f"{name}: -    {word}: {reason}")
            continue
        try:
            print(f"{name}: ok   {word}: {check(crashed)}", flush=True)
        except Exception as error:
            told = str(error) if isinstance(error, (AssertionError, HostError)) else ""
            print(f"{name}: FAIL {word}: {told or traceback.format_exc()}", flush=True)
            good = False
    return good


if __name__ == "__main__":
    sys.exit(main())
