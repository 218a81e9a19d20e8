"""The ELF header that a synthetic kernel's loader would leave: notes, then memory."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crash import Crash

_PT_LOAD, _PT_NOTE = 1, 4
_PRSTATUS = 336


def note(name: bytes, kind: int, desc: bytes, order: str) -> bytes:
    """An ELF note, name and descriptor padded to four bytes."""
    head = struct.pack(f"{order}3I", len(name), len(desc), kind)
    return head + name.ljust(-len(name) % 4 + len(name), b"\0") + desc + bytes(-len(desc) % 4)


def elfcorehdr(crash: Crash, cpus: int = 1) -> bytes:
    """An ELF64 header blob; writes the notes that it points to into the crash's memory."""
    order = ">" if crash.big_endian else "<"
    headers = []
    for cpu in range(1, cpus + 1):
        desc = bytes(32) + struct.pack(f"{order}I", cpu) + bytes(_PRSTATUS - 36)  # pr_pid
        headers.append(_place(crash, note(b"CORE\0", 1, desc, order)))
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
