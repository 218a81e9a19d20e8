# SPDX-License-Identifier: MIT
"""The recorded real crashes: where they are, their memory, and what their loader said.

OLDMEMFS_GOLDEN names the folder of the sets, else it is ``../shared/golden`` beside the repository.
OLDMEMFS_GOLDEN_IMAGES may name a folder that has them decompressed, as ``<set>.img``.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from oldmemfs.kernel.vmcoreinfo import Vmcoreinfo
from oldmemfs.maps.memory import Memory, Run, place

_ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("OLDMEMFS_GOLDEN") or _ROOT / ".." / "shared" / "golden")
_PT_LOAD, _PT_NOTE = 1, 4


class Header(NamedTuple):
    """A program header."""

    kind: int
    offset: int
    virt: int
    phys: int
    size: int


def golden_sets() -> list[str]:
    """The names of the sets that are here."""
    return sorted(path.parent.name for path in FOLDER.glob("*/ram.img.zst"))


def cases() -> list[object]:
    """The names as parameters; one that conftest.py leaves out where none are here."""
    return [pytest.param(name, marks=pytest.mark.golden) for name in golden_sets() or [""]]


each_golden = pytest.mark.parametrize("golden", cases())


def fast_folder() -> str | None:
    """Where files of some hundred MiB may go: memory, unless that is a container's 64 MiB."""
    try:
        room = os.statvfs("/dev/shm")
    except OSError:
        return None
    return "/dev/shm" if room.f_bavail * room.f_frsize > 2 << 30 else None


def folder(name: str) -> Path:
    """Where the files of a set are."""
    return FOLDER / name


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="oldmemfs-golden-", ignore_cleanup_errors=True)


@cache
def image(name: str) -> str:
    """The path of the raw RAM image, decompressed on demand."""
    ready = os.environ.get("OLDMEMFS_GOLDEN_IMAGES")
    if ready and (path := Path(ready, f"{name}.img")).exists():
        return str(path)
    program = shutil.which("zstd")
    if program is None:
        pytest.skip("no zstd here to decompress the recorded crashes: apt-get install zstd")
    target = os.path.join(_scratch().name, f"{name}.img")
    source = folder(name) / "ram.img.zst"
    command = [program, "-q", "-d", "--long=27", "--sparse", str(source), "-o", target]
    subprocess.run(command, check=True)
    return target


@cache
def headers(name: str) -> tuple[Header, ...]:
    """The program headers of the loader's blob."""
    blob = (folder(name) / "elfcorehdr.bin").read_bytes()
    found = []
    for i in range(struct.unpack_from("<H", blob, 56)[0]):
        kind, _, offset, virt, phys, size = struct.unpack_from("<2I4Q", blob, 64 + 56 * i)
        found.append(Header(kind, offset, virt, phys, size))
    return tuple(found)


@cache
def memory(name: str) -> Memory:
    """The memory in the dead kernel's addresses: what the loader moved is back in its place."""
    fd = os.open(image(name), os.O_RDONLY)
    end = os.fstat(fd).st_size
    moved = [h for h in headers(name) if h.kind == _PT_LOAD and h.offset != h.phys]
    runs = [*(Run(h.phys, h.size, fd, h.offset) for h in moved), Run(0, end, fd, 0)]
    return Memory(tuple(place(runs)))


@cache
def vmcoreinfo(name: str) -> Vmcoreinfo:
    """The text of the note that the header points to."""
    for h in headers(name):
        if h.kind == _PT_NOTE:
            data = memory(name).read(h.offset, h.size)
            if data[12:22] == b"VMCOREINFO":
                return Vmcoreinfo.parse(data[24 : 24 + struct.unpack_from("<I", data, 4)[0]])
    raise AssertionError(f"{name} has no VMCOREINFO")


def loads(name: str) -> list[tuple[int, int, int]]:
    """(virt, phys, size) of each PT_LOAD."""
    return [(h.virt, h.phys, h.size) for h in headers(name) if h.kind == _PT_LOAD]
