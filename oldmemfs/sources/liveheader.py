# SPDX-License-Identifier: MIT
"""In a capture kernel: the header of the crash, from /proc/vmcore or from the blob in memory."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING

from ..elf import procvmcore
from ..elf.header import parse_header
from ..errors import FaultError, FormatError, SourceError
from ..host import cmdline
from ..host.files import open_read, read_bytes, read_text, reader
from ..kernel.arch import machine
from ..maps.memory import Access, Memory, Run, place
from ..maps.table import Windows
from ..ranges import round_down

if TYPE_CHECKING:
    from ..elf.header import Header
    from ..options import Options

_TREE = "/proc/device-tree"
_MOST = 4 << 20  # 65535 program headers take 3670024 bytes


def address() -> tuple[int | None, str]:
    """The physical address of the blob, and the name of the file that states it.

    elfcorehdr= on the command line overrides the device tree. Without either: None, and a sentence
    that says so.
    """
    given = cmdline.elfcorehdr(read_text("/proc/cmdline") or "")
    if given is not None:
        return given, "elfcorehdr= in /proc/cmdline"
    node = read_bytes(f"{_TREE}/chosen/linux,elfcorehdr")
    cells = read_bytes(f"{_TREE}/#address-cells")
    if node and cells:
        found = cmdline.device_tree_address(node, int.from_bytes(cells, "big"))
        return found, f"{_TREE}/chosen/linux,elfcorehdr"
    return None, "neither elfcorehdr= in /proc/cmdline nor a device tree names a header"


def proc_vmcore(path: str, warnings: list[str]) -> tuple[int, Header] | None:
    """A descriptor of ``path`` (/proc/vmcore) and its header; None if it is missing or garbage.

    Adds the reason to ``warnings``. Garbage is a header that cannot be parsed, a PT_LOAD that is no
    possible memory, or PT_LOADs beyond the end of the file.
    """
    try:
        fd = open_read(path)
    except SourceError as error:
        warnings.append(str(error))
        return None
    try:
        header = parse_header(reader(path, fd), 0, path)
    except FormatError as error:
        warnings.append(str(error))
        os.close(fd)
        return None
    _, garbage = procvmcore.clamp(header, machine(header.machine).physical_limit, None, path)
    size = os.fstat(fd).st_size
    end = max((p.offset + p.memsz for p in header.loads), default=0)
    if garbage or end > size:
        warnings += garbage or [f"{path}: its headers describe {end:#x} bytes, it has {size:#x}"]
        os.close(fd)
        return None
    return fd, header


def _kcore() -> Memory | None:
    """The capture kernel's own memory, from /proc/kcore, by physical address; None without it.

    Only PT_LOADs whose ``p_paddr`` is known are used: it is 0 or all ones where it is not, and in
    all of them before Linux 4.x.
    """
    try:
        fd = open_read("/proc/kcore")
        header = parse_header(reader("/proc/kcore", fd), 0, "/proc/kcore")
    except (SourceError, FormatError):
        return None
    limit = machine(header.machine).physical_limit
    return Memory(
        tuple(
            place(
                Run(p.paddr, p.filesz, fd, p.offset)
                for p in header.loads
                if p.paddr and p.paddr + p.filesz <= limit
            )
        )
    )


def blob(device: int, options: Options) -> tuple[Header | None, str]:
    """The header blob, and where it was found; or None, and the reason.

    It is read from the file that -o elfcorehdr= names, or from memory at its address, through
    ``device`` (a descriptor of /dev/mem) or else through /proc/kcore.
    """
    if isinstance(options.elfcorehdr, str):
        fd = open_read(options.elfcorehdr)
        return parse_header(reader(options.elfcorehdr, fd), 0, options.elfcorehdr), (
            options.elfcorehdr
        )
    at, origin = options.elfcorehdr, "-o elfcorehdr="
    if at is None:
        at, origin = address()
    if at is None:
        return None, origin
    page = round_down(at, mmap.PAGESIZE)
    mapped = Memory(
        (Run(page, _MOST + mmap.PAGESIZE, device, page, Access.WINDOW),), Windows(1 << 16, 1)
    )
    reasons = []
    for name, memory in (("/dev/mem", mapped), ("/proc/kcore", _kcore())):
        if memory is None:
            continue
        try:
            return parse_header(memory.read, at, name), f"{name} at {at:#x} ({origin})"
        except (FaultError, FormatError) as error:
            reasons.append(f"{name}: {error}")
    return None, f"no ELF header at {at:#x} ({origin}): {'; '.join(reasons)}"
