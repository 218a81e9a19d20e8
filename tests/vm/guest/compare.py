# SPDX-License-Identifier: MIT
"""Two files compared byte for byte, by reads of a chosen size."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .report import CheckError

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20


@contextmanager
def opened(path: str) -> Iterator[int]:
    """A file opened for reading, as a descriptor."""
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def read(fd: int, offset: int, size: int) -> bytes:
    """Like pread, but short only at the file's end."""
    parts = []
    while size > 0:
        part = os.pread(fd, size, offset)
        if not part:
            break
        parts.append(part)
        offset += len(part)
        size -= len(part)
    return b"".join(parts)


def same_range(
    left: int, left_offset: int, right: int, right_offset: int, size: int, *, step: int = MIB
) -> None:
    """Demand equal bytes; a difference is told with its first offset."""
    done = 0
    while done < size:
        length = min(step, size - done)
        ours = read(left, left_offset + done, length)
        true = read(right, right_offset + done, length)
        if ours != true:
            at = first_difference(ours, true)
            raise CheckError(
                f"differs at offset 0x{left_offset + done + at:x}: {ours[at : at + 8].hex()}"
                f" instead of {true[at : at + 8].hex()} (lengths {len(ours)} and {len(true)})"
            )
        if len(true) < length:
            raise CheckError(f"both end early, at offset 0x{left_offset + done + len(true):x}")
        done += length


def first_difference(left: bytes, right: bytes) -> int:
    """Index of the first byte that differs, or the shorter length."""
    pairs = zip(left, right, strict=False)
    return next(
        (index for index, (one, other) in enumerate(pairs) if one != other),
        min(len(left), len(right)),
    )
