# SPDX-License-Identifier: MIT
"""What other tools say of the same crash, run here: makedumpfile and vmcore-dmesg."""

from __future__ import annotations

import struct
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .report import CheckError, expect, run
from .vmcore import VMCORE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

MAKEDUMPFILE = ("/oracle/ld.so", "--library-path", "/oracle", "/oracle/makedumpfile")
_HEAD = 16 << 20  # headers and bitmaps end before this, for machines up to 256 GiB


@dataclass(frozen=True, slots=True)
class Bitmap:
    """A set of page frame numbers, a bit each."""

    bits: bytes

    def __contains__(self, pfn: int) -> bool:
        return pfn >> 3 < len(self.bits) and bool(self.bits[pfn >> 3] >> (pfn & 7) & 1)

    def count(self) -> int:
        return int.from_bytes(self.bits, "little").bit_count()

    def flipped(self, pfn: int) -> Bitmap:
        """The same with one page more, or one less."""
        bits = bytearray(self.bits)
        bits[pfn >> 3] ^= 1 << (pfn & 7)
        return Bitmap(bytes(bits))

    def runs(self, first: int, end: int) -> Iterator[tuple[int, int, bool]]:
        """Start, end and value of each run of alike bits, from ``first`` until before ``end``."""
        while first < end:
            value = first in self
            byte = 0xFF if value else 0
            at = first + 1
            while at < end and (at in self) == value:
                at += 1
                while not at & 7 and at + 8 <= end and self._byte(at >> 3) == byte:
                    at += 8
            yield first, at, value
            first = at

    def _byte(self, index: int) -> int:
        return self.bits[index] if index < len(self.bits) else 0


def version() -> str:
    """Its own word for it, such as 1.7.2."""
    words = run(*MAKEDUMPFILE, "-v").stdout.split()
    return words[words.index("version") + 1] if "version" in words else "unknown"


def dry_run() -> float:
    """Seconds that it takes to know the size of its ELF file."""
    began = time.monotonic()
    done = run(*MAKEDUMPFILE, "-E", "-d", "31", "--dry-run", VMCORE, "/tmp/none")
    expect(done.returncode == 0, f"exit {done.returncode}: {(done.stderr or done.stdout)[-500:]}")
    return time.monotonic() - began


def log() -> bytes:
    """The dead kernel's log by makedumpfile."""
    done = run(*MAKEDUMPFILE, "--dump-dmesg", "-f", VMCORE, "/tmp/dmesg")
    expect(done.returncode == 0, f"exit {done.returncode}: {(done.stderr or done.stdout)[-500:]}")
    with open("/tmp/dmesg", "rb") as file:
        return file.read()


def vmcore_dmesg() -> tuple[bytes, str]:
    """The dead kernel's log by vmcore-dmesg; why there is none."""
    done = subprocess.run(["vmcore-dmesg", VMCORE], capture_output=True, check=False, timeout=600)
    said = done.stderr.decode(errors="replace").strip()
    return done.stdout, said if done.returncode or not done.stdout else ""


def kept_pages() -> tuple[Bitmap, Bitmap, str]:
    """The pages that are memory, those of them that level 31 keeps, and what else was said.

    Zero pages are among the kept. The dump goes through a pipe, and only its head is looked at:
    it takes no room.
    """
    words = [*MAKEDUMPFILE, "-F", "-c", "-d", "31", VMCORE]
    with (
        open("/tmp/said", "w+") as said,
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=said) as process,
    ):
        assert process.stdout
        head = dump_head(process.stdout)
        code = process.wait(600)
        said.seek(0)
        words_said = said.read()
    expect(code == 0, f"makedumpfile: exit {code}: {words_said[-500:]}")
    return *bitmaps(head), words_said


def dump_head(stream: IO[bytes]) -> bytes:
    """The file's first bytes, out of makedumpfile's flattened form: records of offset and size."""
    start = stream.read(4096)
    expect(start.startswith(b"makedumpfile\0"), f"not flattened: {start[:16]!r}")
    head = bytearray()
    while True:
        offset, size = struct.unpack(">qq", stream.read(16))
        if offset < 0:
            return bytes(head)
        data = stream.read(size)
        expect(len(data) == size, "the dump ends in a record")
        if offset + size <= _HEAD:
            head.extend(bytes(max(0, offset + size - len(head))))
            head[offset : offset + size] = data


def bitmaps(head: bytes, counts: int = 428) -> tuple[Bitmap, Bitmap]:
    """Both bitmaps of a compressed dump, with its block counts where the word's size puts them."""
    if head[:8] != b"KDUMP   ":
        raise CheckError(f"not a compressed dump: {head[:8]!r}")
    block, sub_header, blocks = struct.unpack_from("<iiI", head, counts)
    expect(block in (1 << 12, 1 << 14, 1 << 16), f"blocks of {block}")
    start, half = (1 + sub_header) * block, blocks // 2 * block
    expect(len(head) >= start + 2 * half > start, "the bitmaps are not in the head")
    both = head[start : start + half], head[start + half : start + 2 * half]
    return Bitmap(both[0]), Bitmap(both[1])
