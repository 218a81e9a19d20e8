# SPDX-License-Identifier: MIT
"""The log, the registers and the summary, against the crash that was made and other tools."""

from __future__ import annotations

import json
import os
import re
import struct
import time
from pathlib import Path

from . import referees
from .checks import MOUNT
from .report import CheckError, emit, expect
from .vmcore import VMCORE, notes

PANIC = "Kernel panic - not syncing: sysrq triggered crash"
_LOG_SECONDS = 300  # a second on hardware; emulation is 10 to 20 times slower, a busy host more
_STAMP = rb"\[ *\d+\.\d{6}\] "
_HEAD = re.compile(rb"^(" + _STAMP + rb")(\[ *[TC]\d+\] )?", re.MULTILINE)
_SIGNED = re.compile(rb"\\xffffff([0-9a-f]{2})")
_EMPTY = re.compile(rb"^" + _STAMP + rb"\n(?!\Z)", re.MULTILINE)
_NAMES = (
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx",
    "rsi", "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds",
    "es", "fs", "gs",
)  # fmt: skip
_PID, _REGISTERS = 32, 112  # in a prstatus note of x86_64


def option(name: str) -> str:
    """What the first kernel told on the command line."""
    for word in Path("/proc/cmdline").read_text().split():
        if word.startswith(f"vm.{name}="):
            return word.partition("=")[2]
    raise CheckError(f"the command line has no vm.{name}")


def panic_in_log(mounted: float) -> str:
    """The panic and its backtrace are there to be read at once."""
    log = Path(MOUNT, "dmesg").read_text()
    seconds = time.monotonic() - mounted
    emit("first_look", seconds=round(seconds, 2))
    expect(PANIC in log, f"no panic in {len(log)} bytes of log: ...{log[-200:]}")
    trace = log.partition(PANIC)[2]
    expect("Call Trace:" in trace and "sysrq_handle_crash" in trace, f"no backtrace: {trace}")
    expect(seconds < _LOG_SECONDS, f"{seconds:.1f} s after the mount")
    return f"{len(trace.splitlines())} lines of panic, {seconds:.2f} s after the mount"


def size_known(mount: float) -> None:
    """How soon the size of `vmcore-kern` is known, beside makedumpfile's dry run."""
    began = time.monotonic()
    size = os.stat(f"{MOUNT}/vmcore-kern").st_size
    ours = time.monotonic() - began
    theirs = referees.dry_run()
    emit(
        "size_known",
        size=size,
        mount=round(mount, 2),
        stat=round(ours, 2),
        makedumpfile=round(theirs, 2),
        ratio_stat=round(ours / theirs, 2),
        ratio_with_mount=round((mount + ours) / theirs, 2),
    )


def dmesg() -> str:
    """`dmesg` is the log as vmcore-dmesg prints it, and nothing else."""
    ours = Path(MOUNT, "dmesg").read_bytes()
    expect(ours.count(b"\n") > 100, f"{len(ours)} bytes")
    theirs, why = referees.vmcore_dmesg()
    expect(not why, f"vmcore-dmesg: {why}")
    _same(ours, theirs)
    records = [json.loads(line) for line in Path(MOUNT, "dmesg.json").read_bytes().splitlines()]
    sequence = [record["seq"] for record in records]
    expect(sequence == list(range(sequence[0], sequence[0] + len(sequence))), "seq has gaps")
    return f"{len(ours)} bytes, {len(records)} records"


def tools() -> str:
    """`dmesg` is makedumpfile's text, but for what it is known to write in its own way."""
    ours = Path(MOUNT, "dmesg").read_bytes()
    for piece in (b"several\n  lines\nof one record\n", rb"caf\xc3\xa9 \xff\x01 \x1b[1m"):
        expect(piece in ours, f"no {piece!r}")
    _same(_EMPTY.sub(b"", ours), _EMPTY.sub(b"", as_vmcore_dmesg(referees.log())))
    return f"makedumpfile {referees.version()}"


def as_vmcore_dmesg(text: bytes) -> bytes:
    """The text of makedumpfile without callers, without indents, and with its bytes unsigned."""
    lines, width = [], 0
    for line in text.splitlines(keepends=True):
        head = _HEAD.match(line)
        if head:
            width = head.end()
            lines.append(head[1] + line[width:])
        else:
            expect(line.startswith(b" " * width), f"no indent of {width}: {line!r}")
            lines.append(line[width:])
    return _SIGNED.sub(rb"\\x\1", b"".join(lines))


def _same(ours: bytes, theirs: bytes) -> None:
    if ours == theirs:
        return
    pairs = zip(ours.splitlines(), theirs.splitlines(), strict=False)
    different = next((pair for pair in pairs if pair[0] != pair[1]), None)
    raise CheckError(f"{len(ours)} bytes, not {len(theirs)}: {different}")


def registers() -> str:
    """Each processor's registers are those of its note; the one that panicked ran process 1.

    Another one may have run a user's program; one that did not answer in time left no note.
    """
    found = [contents for name, contents in notes() if name == b"CORE"]
    count, panicked = int(option("cpus")), int(option("cpu"))
    folders = sorted(path.name for path in Path(MOUNT, "cpu").iterdir())
    expect(folders == [str(cpu) for cpu in range(count)], f"folders {folders} for {count} CPUs")
    noted = with_notes(count)
    expect(panicked in noted, f"CPU {panicked} panicked, notes have {noted}")
    expect(len(found) == len(noted), f"{len(found)} notes in {VMCORE}, here of CPUs {noted}")
    for cpu, note in zip(noted, found, strict=True):
        wanted = {"pid": struct.unpack_from("<i", note, _PID)[0]}
        values = struct.unpack_from(f"<{len(_NAMES)}Q", note, _REGISTERS)
        wanted |= dict(zip(_NAMES, values, strict=True))
        text = Path(MOUNT, "cpu", str(cpu), "registers").read_text()
        seen = {name: int(value, 0) for name, value in map(str.split, text.splitlines())}
        wrong = sorted(
            name for name in wanted.keys() | seen.keys() if wanted.get(name) != seen.get(name)
        )
        expect(not wrong, f"CPU {cpu}: {' '.join(wrong)}\n{text}")
        raw = Path(MOUNT, "cpu", str(cpu), "prstatus").read_bytes()
        head = struct.pack("<3I8s", 5, len(note), 1, b"CORE")
        expect(raw == head + note, f"CPU {cpu}: prstatus has {len(raw)} bytes")
        kernels = seen["rip"] >> 47 == 0x1FFFF
        expect(cpu != panicked or kernels, f"CPU {cpu}: rip 0x{seen['rip']:x}, not the kernel's")
        expect((seen["pid"] == 1) == (cpu == panicked), f"CPU {cpu} ran process {seen['pid']}")
    return f"CPUs {noted} of {count}, {len(_NAMES)} registers each"


def with_notes(count: int) -> list[int]:
    """The processors that have left a note."""
    paths = (Path(MOUNT, "cpu", str(cpu), "prstatus") for cpu in range(count))
    return [cpu for cpu, path in enumerate(paths) if path.stat().st_size]


def _tainted() -> bool:
    """Whether the panic's own log says that the kernel was tainted."""
    trace = Path(MOUNT, "dmesg").read_text().partition(PANIC)[2]
    clean, tainted = "Not tainted" in trace, "Tainted: " in trace
    expect(clean != tainted, f"no word of the taint: {trace}")
    return tainted


def summary() -> str:
    """`summary` and `summary.json` name the panic, the processor and the process."""
    text = Path(MOUNT, "summary").read_text()
    cpu, count = int(option("cpu")), int(option("cpus"))
    release = os.uname().release
    for line in (
        rf"kernel +{re.escape(release)}",
        rf"panic +{re.escape(PANIC)}",
        rf"blamed +CPU {cpu}, pid 1 \(\S+\)",
        rf"CPUs +{count}, {len(with_notes(count))} of them with registers",
    ):
        expect(re.search(f"^{line}$", text, re.MULTILINE) is not None, f"no {line!r} in\n{text}")
    fields = json.loads(Path(MOUNT, "summary.json").read_bytes())
    wanted = {
        "release": release, "machine": "x86_64", "panic": PANIC, "cpu": cpu, "pid": 1,
        "cpus": count, "registers_agree": True,
    }  # fmt: skip
    seen = {name: fields.get(name) for name in wanted}
    expect(seen == wanted, f"{seen}, not {wanted}")
    # Before 6.0 VMCOREINFO does not lead to the symbols: the taint is what the panic's log says.
    (info,) = (contents for name, contents in notes() if name == b"VMCOREINFO")
    unknown = ["taint"] if b"SYMBOL(kallsyms_names)=" not in info else []
    problems = [problem.partition(":")[0] for problem in fields["problems"]]
    expect(problems == unknown, f"problems {fields['problems']}")
    # A slow host may taint the kernel: a soft lockup does.
    expect(bool(fields["taint"]) == _tainted(), f"taint {fields['taint']}")
    return f"CPU {cpu} of {count}, process {fields['pid']} ({fields['comm']})"
