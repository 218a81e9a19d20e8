"""The header of the crash that this capture kernel was started for, wherever it can be read."""

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
    """Where the blob is, and who says so: the device tree, overridden by the command line."""
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
    """The kernel's own vmcore and its header, unless it is absent or garbage."""
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
        warnings += garbage or [f"{path}: its headers speak of {end:#x} bytes, it has {size:#x}"]
        os.close(fd)
        return None
    return fd, header


def _kcore() -> Memory | None:
    """The capture kernel's own memory as /proc/kcore gives it, by physical address.

    Its program headers carry ``p_paddr`` since 4.x; one that has none is 0 or all ones.
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
    """The header blob, a file's or memory's through /dev/mem or /proc/kcore, and where it was.

    Where there is none to be read: None, and why.
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
