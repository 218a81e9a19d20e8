# SPDX-License-Identifier: MIT
"""What must hold of a mounted oldmemfs, given the dead kernel's memory."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from .compare import MIB, opened, read, same_range
from .pages import PAGE, contents, from_command_line
from .report import CheckError, expect
from .vmcore import VMCORE, loads, notes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOUNT = "/mnt/dump"
FILES = (
    "vmcore", "vmcore-kern", "filter-report", "oldmem", "dmesg", "dmesg.json", "summary",
    "summary.json", "vmcoreinfo", "status", "badpages", "cpu/0/registers", "cpu/0/prstatus",
)  # fmt: skip


def tree() -> Iterator[Path]:
    """Every file and folder in the mount."""
    for folder, _, files in os.walk(MOUNT, onerror=_raise):
        yield Path(folder)
        yield from (Path(folder, name) for name in files)


def _raise(error: OSError) -> None:
    raise error


def mounted() -> str:
    """The mount is listed, read-only and harmless."""
    lines = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    found = [line for line in lines if line[1] == MOUNT]
    expect(len(found) == 1, f"{len(found)} mounts on {MOUNT}")
    source, _, kind, options = found[0][:4]
    lacking = {"ro", "nosuid", "nodev", "noexec"} - set(options.split(","))
    expect(kind == "fuse.oldmemfs", f"type {kind}")
    expect(not lacking, f"options {options} lack {sorted(lacking)}")
    return f"{source} {kind} {options}"


def modes() -> str:
    """Root's own, files 0400, folders 0500, and the promised files are there."""
    wrong = []
    names = set()
    for path in tree():
        seen = path.lstat()
        names.add(str(path.relative_to(MOUNT)))
        wanted = stat.S_IFDIR | 0o500 if path.is_dir() else stat.S_IFREG | 0o400
        if (seen.st_mode, seen.st_uid, seen.st_gid) != (wanted, 0, 0):
            wrong.append(f"{path} {stat.filemode(seen.st_mode)} {seen.st_uid}:{seen.st_gid}")
    expect(not wrong, "; ".join(wrong))
    expect(names >= set(FILES), f"only {sorted(names)}")
    return " ".join(sorted(names))


def read_only() -> str:
    """Nobody can write, create or remove, not even root."""
    file = f"{MOUNT}/vmcore"
    refused = []
    actions: dict[str, Callable[[], object]] = {
        "write": lambda: os.close(os.open(file, os.O_WRONLY)),
        "create": lambda: os.close(os.open(f"{MOUNT}/new", os.O_WRONLY | os.O_CREAT, 0o600)),
        "remove": lambda: os.unlink(file),
        "truncate": lambda: os.truncate(file, 0),
    }
    for word, action in actions.items():
        try:
            action()
        except OSError as error:
            expect(error.errno == errno.EROFS, f"{word}: {error}")
            refused.append(word)
        else:
            raise CheckError(f"{word} was allowed")
    return f"refused: {' '.join(refused)}"


def whole_vmcore() -> str:
    """`vmcore` has the size and every byte of /proc/vmcore."""
    size = os.stat(VMCORE).st_size
    seen = os.stat(f"{MOUNT}/vmcore").st_size
    expect(seen == size, f"size {seen}, not {size}")
    with opened(f"{MOUNT}/vmcore") as ours, opened(VMCORE) as true:
        same_range(ours, 0, true, 0, size)
        expect(os.pread(ours, 1, size) == b"", "bytes after the end")
    return f"{size} bytes equal"


def vmcore_edges() -> str:
    """Odd reads around every border inside the file, and over its end."""
    size = os.stat(VMCORE).st_size
    borders = {0, size} | {edge for s in loads() for edge in (s.offset, s.offset + s.size)}
    count = 0
    with opened(f"{MOUNT}/vmcore") as ours, opened(VMCORE) as true:
        for border in sorted(borders):
            for before, length in ((1, 2), (7, 4111), (4099, 8197), (MIB - 1, MIB + 5)):
                start = max(0, border - before)
                length = min(length, size - start)
                same_range(ours, start, true, start, length, step=length)
                count += 1
    return f"{count} reads at {len(borders)} borders"


def whole_oldmem() -> str:
    """`oldmem` at a physical address has what /proc/vmcore has for that address."""
    segments = loads()
    end = max(segment.phys + segment.size for segment in segments)
    size = os.stat(f"{MOUNT}/oldmem").st_size
    expect(size >= end, f"size 0x{size:x} is below the end of memory 0x{end:x}")
    with opened(f"{MOUNT}/oldmem") as ours, opened(VMCORE) as true:
        for segment in segments:
            try:
                same_range(ours, segment.phys, true, segment.offset, segment.size)
            except CheckError as failure:
                raise CheckError(f"{segment}: {failure}") from None
    return f"size 0x{size:x}; " + "; ".join(str(segment) for segment in segments)


def oldmem_gaps() -> str:
    """Where no memory of the dead kernel was, `oldmem` reads as zeros: nobody else's bytes."""
    gaps, at = [], 0
    for start, end in sorted(
        (s.phys & -PAGE, -(-(s.phys + s.size) // PAGE) * PAGE) for s in loads()
    ):
        if at < start:
            gaps.append((at, start))
        at = max(at, end)
    expect(len(gaps) > 0, "no gap, though the capture kernel must lie in one")
    with opened(f"{MOUNT}/oldmem") as ours:
        for start, end in gaps:
            for begin in (start, start + (end - start) // 2 & -PAGE, max(start, end - MIB)):
                length = min(MIB, end - begin)
                seen = read(ours, begin, length)
                expect(len(seen) == length, f"0x{begin:x}: {len(seen)} bytes of {length}")
                expect(not any(seen), f"gap 0x{start:x}..0x{end:x} is not zero near 0x{begin:x}")
    return " ".join(f"0x{start:x}..0x{end:x}" for start, end in gaps)


def pattern_pages() -> str:
    """`oldmem` has the pages that the first kernel filled, at the addresses it told."""
    marked = from_command_line()
    expect(len(marked) > 0, "the first kernel told of no page")
    with opened(f"{MOUNT}/oldmem") as ours:
        for kind, phys in marked:
            seen = read(ours, phys, PAGE)
            expect(seen == contents(phys), f"{kind} page 0x{phys:x} has {seen[:16].hex()}...")
    return " ".join(f"{kind}:0x{phys:x}" for kind, phys in marked)


def vmcoreinfo() -> str:
    """`vmcoreinfo` is the note of that name."""
    wanted = [contents for name, contents in notes() if name == b"VMCOREINFO"]
    expect(len(wanted) == 1, f"{len(wanted)} notes in {VMCORE}")
    seen = Path(MOUNT, "vmcoreinfo").read_bytes()
    expect(seen == wanted[0], f"{len(seen)} bytes {seen[:40]!r}..., not {len(wanted[0])}")
    expect(seen.startswith(b"OSRELEASE=") and b"CRASHTIME=" in seen, f"{seen[:40]!r}...")
    return f"{len(seen)} bytes"


def sizes() -> str:
    """Every file ends exactly where stat says; all but the largest are read whole."""
    told = []
    for path in tree():
        if path.is_dir():
            continue
        promised = path.stat().st_size
        with opened(str(path)) as ours:
            start = 0 if promised <= 64 * MIB else promised - MIB - 1
            got = start + len(read(ours, start, promised - start + MIB))
            expect(os.pread(ours, 2, promised) == b"", f"{path}: bytes after the end")
        expect(got == promised, f"{path}: ends at {got}, stat says {promised}")
        told.append(f"{path.relative_to(MOUNT)}={got}")
    return " ".join(told)
