# SPDX-License-Identifier: MIT
"""Which parts of old memory /dev/mem lets us map.

With STRICT_DEVMEM and IO_STRICT_DEVMEM the kernel refuses pages that a resource of the *capture*
kernel covers: its System RAM, and on x86 also the "RAM buffer" from there to the next 64 MiB
border, which is old memory. An mmap fails as a whole if one page of it is refused. So ranges are
cut at the borders of the resources in /proc/iomem, and a refused part is halved again and again,
down to ``grain`` bytes.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

from ..host import iomem
from ..ranges import Range, intersect, round_down, round_up, subtract, union

if TYPE_CHECKING:
    from collections.abc import Iterator

_STEP = 64 << 20  # bytes between the pages that are tried outside all resources


def granted(fd: int, piece: Range) -> bool:
    """Whether mmap of this range (bytes, page aligned) succeeds."""
    try:
        mmap.mmap(fd, piece.size, mmap.MAP_SHARED, mmap.PROT_READ, offset=piece.start).close()
    except (OSError, ValueError, OverflowError):
        return False
    return True


def _halved(fd: int, piece: Range, grain: int) -> Iterator[Range]:
    if granted(fd, piece):
        yield piece
    elif piece.size > grain:
        middle = round_up(piece.start + piece.size // 2, mmap.PAGESIZE)
        if middle < piece.end:
            yield from _halved(fd, Range(piece.start, middle), grain)
            yield from _halved(fd, Range(middle, piece.end), grain)


def _free(fd: int, piece: Range, grain: int) -> Iterator[Range]:
    """The mappable parts of a piece that no resource covers.

    All of it if one page in each ``_STEP`` bytes and the last page are; else it is halved.
    """
    page = mmap.PAGESIZE
    probes = [*range(piece.start, piece.end, _STEP), piece.end - page]
    if all(granted(fd, Range(at, at + page)) for at in probes):
        yield piece
    else:
        for start in range(piece.start, piece.end, _STEP):
            yield from _halved(fd, Range(start, min(start + _STEP, piece.end)), grain)


def mappable(fd: int, whole: Range, resources: str, grain: int) -> list[Range]:
    """The parts of ``whole`` (page aligned) that can be mapped from the descriptor ``fd``.

    ``resources`` is the text of /proc/iomem; refused parts are searched down to ``grain`` bytes.
    """
    page = mmap.PAGESIZE
    covered = union(
        Range(round_down(r.start, page), round_up(r.end, page))
        for r, _ in iomem.top_level(resources)
    )
    found = [part for free in subtract(whole, covered) for part in _free(fd, free, grain)]
    for resource in covered:
        inside = intersect(whole, resource)
        if inside:
            found += _halved(fd, inside, grain)
    return union(found)
