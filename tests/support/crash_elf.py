# SPDX-License-Identifier: MIT
"""The ELF header that a synthetic kernel's loader would leave: notes, then memory."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from support.crash import Crash

CORE_START = 0x10000  # of memory in a synthetic core file

_PT_LOAD, _PT_NOTE = 1, 4


def note(name: bytes, kind: int, desc: bytes, order: str) -> bytes:
    """An ELF note, name and descriptor padded to four bytes."""
    head = struct.pack(f"{order}3I", len(name), len(desc), kind)
    return head + name.ljust(-len(name) % 4 + len(name), b"\0") + desc + bytes(-len(desc) % 4)


def prstatus(pid: int, order: str, registers: bytes = b"") -> bytes:
    """A 64-bit ``struct elf_prstatus``: of it the kernel fills the pid and the registers only."""
    return (bytes(32) + struct.pack(f"{order}I", pid) + bytes(76) + registers).ljust(336, b"\0")


def elfcorehdr(crash: Crash, cpus: int = 1, statuses: Sequence[bytes] = ()) -> bytes:
    """An ELF64 header blob; writes the notes that it points to into the crash's memory.

    ``statuses``: a ``prstatus`` for each CPU, instead of zeros with pid 1, 2 ...
    """
    order = ">" if crash.big_endian else "<"
    each = statuses or [prstatus(cpu, order) for cpu in range(1, cpus + 1)]
    headers = [_place(crash, note(b"CORE\0", 1, desc, order)) for desc in each]
    headers.append(_place(crash, note(b"VMCOREINFO\0", 0, crash.text, order)))
    for virt, phys, size in crash.loads:
        headers.append((_PT_LOAD, 7, phys, virt, phys, size, size, 0))
    ident = b"\x7fELF" + bytes((2, 2 if crash.big_endian else 1, 1)) + bytes(9)
    fields = (4, crash.machine.e_machine, 1, 0, 64, 0, 0, 64, 56, len(headers), 0, 0, 0)
    blob = ident + struct.pack(f"{order}2HI3QI6H", *fields)
    return blob + b"".join(struct.pack(f"{order}2I6Q", *header) for header in headers)


def _place(crash: Crash, data: bytes) -> tuple[int, ...]:
    size = len(data)
    phys = crash.ram.allocate(size + 12, 4096)  # what follows the note is zero
    crash.ram.write(phys, data)
    return _PT_NOTE, 0, phys, 0, phys, size, size, 0


def save_core(
    crash: Crash, path: Path, claims: Sequence[tuple[int, ...]] = (), end: int | None = None
) -> None:
    """Its /proc/vmcore as a sparse file, with more PT_LOADs (offset, virt, phys, filesz, memsz).

    ``end`` is how much of memory is in the file, if not all.
    """
    blob = elfcorehdr(crash)
    count = struct.unpack_from("<H", blob, 56)[0]
    phdrs = [struct.unpack_from("<2I6Q", blob, 64 + 56 * i) for i in range(count)]
    notes = b"".join(crash.memory.read(p[2], p[5]) for p in phdrs if p[0] == _PT_NOTE)
    rows: list[tuple[int, ...]] = [(_PT_NOTE, 0, 4096, 0, 0, len(notes), len(notes), 4)]
    rows += [(p[0], p[1], p[2] + CORE_START, *p[3:]) for p in phdrs if p[0] == _PT_LOAD]
    rows += [(_PT_LOAD, 7, *claim, 0) for claim in claims]
    header = bytearray(blob[:64])
    struct.pack_into("<H", header, 56, len(rows))
    header += b"".join(struct.pack("<2I6Q", *row) for row in rows)
    end = crash.ranges[-1][1] if end is None else end
    with path.open("wb") as out:
        out.write(header.ljust(4096, b"\0") + notes)
        at = 0
        while at < end:
            try:
                at = os.lseek(crash.ram.fd, at, os.SEEK_DATA)
            except OSError:
                break
            stop = min(os.lseek(crash.ram.fd, at, os.SEEK_HOLE), end)
            out.seek(CORE_START + at)
            while at < stop:
                at += os.sendfile(out.fileno(), crash.ram.fd, at, stop - at)
                out.seek(0, os.SEEK_CUR)
        out.truncate(CORE_START + end)
