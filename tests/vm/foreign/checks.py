# SPDX-License-Identifier: MIT
"""The checks of the files, each against a copy that another program made.

Each check answers with what it has seen, and raises AssertionError.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from oldmemfs.filter.filtered import filtered
from oldmemfs.kernel.printk import as_text
from oldmemfs.maps.plan import Plan
from oldmemfs.options import Options
from oldmemfs.sources import open_source

from ..guest.firstlook import as_vmcore_dmesg
from ..tools import run
from .crashed import MIB

if TYPE_CHECKING:
    from pathlib import Path

    from .crashed import Crashed

PANIC = "Kernel panic - not syncing: sysrq triggered crash"
_POINTERS = ("eip", "pc", "nip", "rip", "epc")


def search(crashed: Crashed) -> str:
    """Without elfcorehdr= the same header is found."""
    dump = open_source(str(crashed.machine.ram), crashed.options(searched=True))
    assert dump.origin == f"{crashed.machine.ram} at {crashed.header():#x}", dump.origin
    return f"found at {crashed.header():#x}"


def vmcore(crashed: Crashed) -> str:
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


def oldmem(crashed: Crashed) -> str:
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


def clamped(crashed: Crashed) -> str:
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


def saved(crashed: Crashed) -> str:
    """A saved /proc/vmcore tells the same, as far as page tables are in it."""
    saved = open_source(str(crashed.core), Options())
    assert as_text(saved.log) == as_text(crashed.dump.log)
    if crashed.dump.kernel.space.paging and not saved.kernel.space.paging:
        return "the log; the page tables are not in it"
    parts = [filtered(dump.kernel, dump.header, dump.notes, 31) for dump in (saved, crashed.dump)]
    assert parts[0].report() == parts[1].report()
    assert parts[0].classes.kept.bits == parts[1].classes.kept.bits
    return "the log, the pages, the report"


def dmesg(crashed: Crashed) -> str:
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


def summary(crashed: Crashed) -> str:
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


def registers(crashed: Crashed) -> str:
    """Every processor's note is as in /proc/vmcore; the one that panicked was in the kernel.

    Another one may have run a user's program. One that did not answer in time left no note.
    """
    seen, at = [], 0
    with crashed.core.open("rb") as file:  # the notes of all processors, in order, are in front;
        core = file.read(MIB)  # with pages of 64 KiB they begin at 0x10000
    last = crashed.target.cpus - 1
    with crashed.mounted() as mount:
        for cpu in range(crashed.target.cpus):
            raw = (mount / f"cpu/{cpu}/prstatus").read_bytes()
            if not raw:
                assert cpu != last, "the processor that panicked has no note"
                seen.append(f"CPU {cpu} none")
                continue
            at = core.find(raw, at)
            assert at >= 0, f"CPU {cpu}: /proc/vmcore has no such note"
            at += len(raw)
            pointer = _pointer(mount / f"cpu/{cpu}/registers")
            base = crashed.dump.kernel.arch.kernel_base
            assert cpu != last or pointer > base, f"CPU {cpu}: {pointer:#x} is not the kernel's"
            seen.append(f"CPU {cpu} {pointer:#x}")
    return ", ".join(seen)


def _pointer(path: Path) -> int:
    lines = (line.split() for line in path.read_text().splitlines())
    found = {words[0]: words[1] for words in lines if len(words) > 1}
    name = next(n for n in _POINTERS if n in found)
    return int(found[name], 16)
