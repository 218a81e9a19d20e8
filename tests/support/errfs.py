# SPDX-License-Identifier: MIT
"""A file system of one file with I/O errors: ``errfs.py FILE DIRECTORY START-END...``.

It stands in for a disk with bad sectors, where the kernel has no device mapper. FILE appears as
DIRECTORY/image; a read that touches one of the ranges (hexadecimal, END not included) gives EIO.
"""

from __future__ import annotations

import errno
import os
import stat
import sys

import pyfuse3
import trio

IMAGE = pyfuse3.InodeT(pyfuse3.ROOT_INODE + 1)


class Errs(pyfuse3.Operations):
    """The file system."""

    def __init__(self, path: str, bad: list[tuple[int, int]]) -> None:
        super().__init__()
        self._fd = os.open(path, os.O_RDONLY)
        self._size = os.fstat(self._fd).st_size
        self._bad = bad

    async def getattr(
        self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext | None = None
    ) -> pyfuse3.EntryAttributes:
        found = pyfuse3.EntryAttributes()
        found.st_ino = inode
        found.st_mode = stat.S_IFREG | 0o400 if inode == IMAGE else stat.S_IFDIR | 0o500
        found.st_size = self._size if inode == IMAGE else 0
        return found

    async def lookup(
        self, parent_inode: pyfuse3.InodeT, name: bytes, ctx: pyfuse3.RequestContext | None = None
    ) -> pyfuse3.EntryAttributes:
        if name != b"image":
            raise pyfuse3.FUSEError(errno.ENOENT)
        return await self.getattr(IMAGE)

    async def open(
        self, inode: pyfuse3.InodeT, flags: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.FileInfo:
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(0), direct_io=True)

    async def read(self, fh: pyfuse3.FileHandleT, off: int, size: int) -> bytes:
        if any(off < end and start < off + size for start, end in self._bad):
            raise pyfuse3.FUSEError(errno.EIO)
        return os.pread(self._fd, size, off)


def main() -> None:
    """Serve until it is unmounted."""
    path, directory, *ranges = sys.argv[1:]
    bad = [(int(a, 16), int(b, 16)) for a, b in (r.split("-") for r in ranges)]
    pyfuse3.init(Errs(path, bad), directory, {"fsname=errfs", "ro"})
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close()


if __name__ == "__main__":
    main()
