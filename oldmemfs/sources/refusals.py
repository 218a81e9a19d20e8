"""Which old memory /dev/mem refuses to map.

STRICT_DEVMEM and IO_STRICT_DEVMEM refuse what a resource of the *capture* kernel covers: its
System RAM, and on x86 the "RAM buffer" up to the next 64 MiB border, which is old memory. One
refused page makes the whole mmap fail, so ranges are cut at the borders of /proc/iomem and what
is refused is halved down to ``grain``.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

from ..host import iomem
from ..ranges import Range, intersect, round_down, round_up, subtract, union

if TYPE_CHECKING:
    from collections.abc import Iterator

_STEP = 64 << 20  # outside all resources one page in so many bytes is tried


def granted(fd: int, piece: Range) -> bool:
    """Whether the kernel maps this range as a whole."""
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
    """A piece that no resource covers: mappable, as a few pages of it show, or else halved."""
    page = mmap.PAGESIZE
    probes = [*range(piece.start, piece.end, _STEP), piece.end - page]
    if all(granted(fd, Range(at, at + page)) for at in probes):
        yield piece
    else:
        for start in range(piece.start, piece.end, _STEP):
            yield from _halved(fd, Range(start, min(start + _STEP, piece.end)), grain)


def mappable(fd: int, whole: Range, resources: str, grain: int) -> list[Range]:
    """The parts of ``whole`` (page aligned) that can be mapped; ``resources`` is /proc/iomem."""
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
