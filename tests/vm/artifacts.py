# SPDX-License-Identifier: MIT
"""A crash kept for later: the dead kernel's memory and the facts that go with it.

ram.img.zst     guest memory from physical 0; what /proc/vmcore does not need is zeroed
memmap          `phys_start phys_end file_offset` of the image, hex, end exclusive
elfcorehdr.bin  the header blob that the capture kernel was given
cmdline, iomem  of the capture kernel
vmcore.sha256   sha256 and size of /proc/vmcore
params          how the crash was made
"""

from __future__ import annotations

import dataclasses
import re
import struct
from typing import TYPE_CHECKING

from .tools import HostError, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .kdump import Outcome

_PAGE = 4096
_LOW = 3 << 30  # the emulated board puts memory above this at 4 GiB
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def keep(outcome: Outcome, folder: Path) -> None:
    """Write all files; refuses a machine whose memory is not one run from 0."""
    if outcome.setup.memory_mib << 20 > _LOW:
        raise HostError("--keep: at most 3072 MiB of memory")
    folder.mkdir(parents=True, exist_ok=True)
    command = str(outcome.fact("cmdline"))
    header, needed = _header(outcome.machine.ram, header_address(command))
    (folder / "elfcorehdr.bin").write_bytes(header)
    (folder / "cmdline").write_text(command + "\n")
    (folder / "iomem").write_text(str(outcome.fact("iomem")))
    (folder / "vmcore.sha256").write_text(f"{outcome.fact('sha256')} {outcome.fact('size')}\n")
    (folder / "memmap").write_text(f"0 {outcome.setup.memory_mib << 20:x} 0\n")
    settings = {**dataclasses.asdict(outcome.setup), "release": outcome.fact("release")}
    (folder / "params").write_text(" ".join(f"{k}={v!r}" for k, v in settings.items()) + "\n")
    image = folder / "ram.img"
    _copy(outcome.machine.ram, image, needed)
    run(["zstd", "-q", "-f", "-12", "--long=27", "-T0", "--rm", image])


def header_address(command: str) -> int:
    """Where a capture kernel's command line says that the ELF header is."""
    found = re.search(r"\belfcorehdr=(0x[0-9a-fA-F]+|\d+)([KMG]?)\b", command)
    if found is None:
        raise HostError(f"no elfcorehdr in {command!r}")
    return int(found[1], 0) * _UNITS[found[2]]


def _header(ram: Path, address: int) -> tuple[bytes, list[range]]:
    """The header blob at an address, and every range of memory that /proc/vmcore needs."""
    with ram.open("rb") as file:
        file.seek(address)
        start = file.read(64)
        if start[:5] != b"\x7fELF\x02":
            raise HostError(f"{ram}: no ELF header at 0x{address:x}")
        (table,) = struct.unpack_from("<Q", start, 32)
        (count,) = struct.unpack_from("<H", start, 56)
        file.seek(address)
        blob = file.read(table + 56 * count)
    needed = [range(address, address + len(blob))]
    for index in range(count):
        fields = struct.unpack_from("<IIQQQQQQ", blob, table + 56 * index)
        needed.append(range(fields[2], fields[2] + fields[5]))
    return blob, needed


def _copy(ram: Path, image: Path, needed: list[range]) -> None:
    with ram.open("rb") as source, image.open("wb") as target:
        target.truncate(ram.stat().st_size)
        for part in _pages(needed):
            source.seek(part.start)
            target.seek(part.start)
            left = len(part)
            while left:
                data = source.read(min(left, 1 << 20))
                if not data:
                    raise HostError(f"{ram}: ends at 0x{source.tell():x}, before 0x{part.stop:x}")
                target.write(data)
                left -= len(data)


def _pages(ranges: list[range]) -> Iterator[range]:
    for part in ranges:
        yield range(part.start // _PAGE * _PAGE, -(-part.stop // _PAGE) * _PAGE)
