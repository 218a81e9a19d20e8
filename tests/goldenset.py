"""The recorded crashes: real kernels, with the truth that their own capture kernels wrote.

The folder is ``../shared/golden``, or what OLDMEMFS_GOLDEN names; images are unpacked once.
"""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from oldmemfs.kernel import Kernel
from oldmemfs.options import Options
from oldmemfs.plan import Plan
from oldmemfs.sources import open_source

if TYPE_CHECKING:
    from oldmemfs.dump import Dump

FOLDER = Path(os.environ.get("OLDMEMFS_GOLDEN", "/work/shared/golden"))
UNPACKED = Path("/dev/shm/golden")
NAMES = ("bookworm-6.1-amd64-s", "bookworm-6.1-amd64-c", "bullseye-5.10-amd64-s")
MIB = 1 << 20


@cache
def image(name: str) -> Path:
    """The crashed machine's memory, unpacked."""
    packed, path = FOLDER / name / "ram.img.zst", UNPACKED / f"{name}.img"
    if not packed.exists():
        pytest.skip(f"no recorded crashes in {FOLDER}")
    if not path.exists():
        UNPACKED.mkdir(exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        command = ["zstd", "-q", "-d", "--long=27", "--sparse", str(packed), "-o", str(part)]
        subprocess.run(command, check=True)
        part.rename(path)
    return path


@cache
def dump(name: str) -> Dump:
    """The crash, from its image and its header."""
    return open_source(
        str(image(name)), Options(source="raw", elfcorehdr=str(FOLDER / name / "elfcorehdr.bin"))
    )


def kernel(crash: Dump) -> Kernel:
    """The dead kernel."""
    header = crash.header
    loads = [(p.vaddr, p.paddr, p.memsz) for p in header.loads]
    return Kernel.of(crash.memory, crash.vmcoreinfo, header.machine, header.big_endian, loads)


def pfns(path: Path) -> set[int]:
    """The page frames that a file of inclusive hexadecimal ranges lists."""
    found: set[int] = set()
    for line in path.read_text().splitlines():
        first, last = (int(word, 16) for word in line.split())
        found.update(range(first, last + 1))
    return found


def save(plan: Plan, path: Path) -> None:
    """A file with the plan's bytes, all of which must be readable."""
    with path.open("wb") as out:
        for at in range(0, plan.size, MIB):
            data, faults = plan.table.read(at, MIB)
            assert not faults
            out.write(data)


def save_vmcore(crash: Dump, path: Path) -> None:
    """/proc/vmcore as a file."""
    save(Plan(crash.core, crash.present), path)
