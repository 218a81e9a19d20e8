"""How a memory image is looked at."""

from __future__ import annotations

import os
import tempfile

import pytest

from oldmemfs.files import image_access
from oldmemfs.memory import Access, Memory, Run

MIB = 1 << 20


def on_tmpfs() -> bool:
    with open("/proc/self/mounts") as file:
        return any(line.split()[1:3] == ["/dev/shm", "tmpfs"] for line in file)


@pytest.mark.skipif(not on_tmpfs(), reason="/dev/shm is no tmpfs")
def test_an_image_in_memory_is_mapped_unless_that_would_fill_its_holes() -> None:
    data = os.urandom(MIB)
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        file.write(data)
        file.flush()
        access, windows = image_access(file.fileno())
        assert access is Access.WINDOW
        assert (
            Memory((Run(0, MIB, file.fileno(), 0, access),), windows).read(5, MIB - 5) == data[5:]
        )
        os.truncate(file.name, 4 * MIB)
        before = os.stat(file.name).st_blocks
        access, windows = image_access(file.fileno())
        assert access is Access.PREAD
        whole = Memory((Run(0, 4 * MIB, file.fileno(), 0, access),), windows).read(0, 4 * MIB)
        assert whole == data + bytes(3 * MIB)
        assert os.stat(file.name).st_blocks == before


def test_a_file_elsewhere_is_read() -> None:
    with open("/proc/self/mounts", "rb") as file:
        assert image_access(file.fileno()) == (Access.PREAD, None)
