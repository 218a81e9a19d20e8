# SPDX-License-Identifier: MIT
"""The first look at real crashes: equal to what other tools printed and print of them."""

from __future__ import annotations

import re
import shutil
import struct
from typing import TYPE_CHECKING

import pytest
from support import recorded
from support.cores import gdb_registers
from support.recorded import each_golden

from oldmemfs.elf.notes import Note, notes
from oldmemfs.elf.registers import pid, registers
from oldmemfs.kernel.arch import x86_64
from oldmemfs.kernel.kernel import Kernel
from oldmemfs.kernel.panic import find_panic
from oldmemfs.kernel.printk import as_text, read_log
from oldmemfs.kernel.taint import read_taint
from oldmemfs.views.facts import as_text as summary_text
from oldmemfs.views.facts import summarize

if TYPE_CHECKING:
    from pathlib import Path

    from oldmemfs.kernel.printk import Log

X86_64, PT_NOTE = 62, 4
_INDENT = re.compile(rb"^ {15}", re.MULTILINE)  # makedumpfile's, under "[    2.036047] "


def read(name: str) -> tuple[Kernel, Log]:
    info = recorded.vmcoreinfo(name)
    kernel = Kernel.from_vmcoreinfo(recorded.memory(name), info, X86_64, False)
    return kernel, read_log(kernel, info)


def cpu_notes(name: str) -> list[Note]:
    """The CPUs' notes, in the header's order."""
    memory = recorded.memory(name)
    segments = [h for h in recorded.headers(name) if h.kind == PT_NOTE]
    found = [n for h in segments for n in notes(memory.read(h.offset, h.size), False)]
    return [n for n in found if n.name == b"CORE"]


@each_golden
def test_log_as_the_tools_printed_it(golden: str) -> None:
    _, log = read(golden)
    assert not log.skipped
    text = as_text(log)
    assert len(text) > 20_000
    if golden.startswith("bookworm"):  # vmcore-dmesg failed on 5.10's
        assert text == (recorded.folder(golden) / "vmcore-dmesg.txt").read_bytes()
    dumped = (recorded.folder(golden) / "dmesg.txt").read_bytes()
    assert text == _INDENT.sub(b"", dumped)
    assert {r.level for r in log.records} <= set(range(8))
    from_user = [r.text for r in log.records if r.facility == 1]  # written to /dev/kmsg
    assert from_user == [r.text for r in log.records if r.facility != 0]
    assert b"golden: about to crash" in from_user
    assert [r.seq for r in log.records] == list(range(len(log.records)))


@each_golden
@pytest.mark.skipif(not shutil.which("gdb"), reason="no gdb here: apt-get install gdb")
def test_registers_as_gdb_shows_them(golden: str, tmp_path: Path) -> None:
    found = cpu_notes(golden)
    assert found
    for note in found:
        head = struct.pack("<3I", 5, len(note.desc), 1) + b"CORE\0\0\0\0" + note.desc
        ident = b"\x7fELF\2\1\1"
        ehdr = struct.pack("<16s2HI3QI6H", ident, 4, X86_64, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
        phdr = struct.pack("<2I6Q", PT_NOTE, 0, 120, 0, 0, len(head), len(head), 4)
        (tmp_path / "core").write_bytes(ehdr + phdr + head)
        shown = gdb_registers(tmp_path / "core")
        ours = {r.name: r.value for r in registers(x86_64.ARCH.status, False, note.desc)}
        compared = shown.keys() & ours.keys()
        assert len(compared) >= 24
        assert {name: ours[name] for name in compared} == {n: shown[n] for n in compared}


@each_golden
def test_summary(golden: str) -> None:
    kernel, log = read(golden)
    taint = read_taint(kernel, kernel.info) if golden.startswith("bookworm") else None
    pids = [pid(x86_64.ARCH.status, False, note.desc) for note in cpu_notes(golden)]
    ranges = kernel.memory.ranges
    summary = summarize(
        "x86_64", kernel.info, find_panic(log), pids=pids, taint=taint, ranges=ranges
    )
    assert summary.panic is not None
    assert summary.panic.line == "Kernel panic - not syncing: sysrq triggered crash"
    assert summary.panic.trigger == "sysrq: Trigger a crash"
    comm = "init" if golden.startswith("bookworm") else "sh"
    assert (summary.panic.pid, summary.panic.comm, summary.taint) == (1, comm, 0)
    assert summary.agreed is True
    text = summary_text(summary)
    assert f"kernel      {kernel.info.release}\n" in text
    assert re.search(r"crashed     2026-\d\d-\d\dT\d\d:\d\d:\d\dZ\n", text)
