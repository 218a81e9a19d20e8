"""Mount a made-up crash, copy its vmcore out, and compare that with what it must be."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "tests"))

from support.image import HEADER, LOAD, Segment, crashed, vmcore_of


def show(*words: str) -> None:
    """Run a command as a user would, and show it."""
    print("$", *words, flush=True)
    subprocess.run(words, check=True)


def main() -> int:
    """The session."""
    loads = [
        Segment(LOAD, 0x100000, 0x234567, vaddr=0xFFFFFFFF81000000),
        Segment(LOAD, 0x700000, 0x9EC00, paddr=0x1000, vaddr=0xFFFF888000001000),
        Segment(LOAD, 0x100000, 0x500000, vaddr=0xFFFF888000100000),
    ]
    image = crashed(loads, size=8 << 20)
    oldmemfs = os.path.join(os.path.dirname(sys.executable), "oldmemfs")
    with tempfile.TemporaryDirectory() as work:
        ram = image.write(os.path.join(work, "ram.img"))
        mnt, copy = os.path.join(work, "dump"), os.path.join(work, "vmcore")
        os.mkdir(mnt)
        show(oldmemfs, ram, mnt)
        try:
            show("ls", "-l", mnt)
            show("cat", os.path.join(mnt, "status"))
            show("cp", os.path.join(mnt, "vmcore"), copy)
        finally:
            show("umount" if os.getuid() == 0 else "fusermount3", *["-u"][os.getuid() == 0 :], mnt)
        with open(copy, "rb") as file:
            same = file.read() == vmcore_of(bytes(image.data), HEADER)
    print("vmcore is byte for byte what it must be" if same else "vmcore DIFFERS")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
