# SPDX-License-Identifier: MIT
"""`vmcore-kern` page by page, beside a set of kept pages and the bytes of /proc/vmcore."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .checks import MOUNT
from .compare import MIB, opened, read
from .pages import PAGE
from .report import CheckError, expect
from .vmcore import VMCORE, Segment, loads

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .referees import Bitmap

OURS = f"{MOUNT}/vmcore-kern"
HERE, HIDDEN = 1, 2


class Comparison:
    """The file, page by page, against a set of kept pages and /proc/vmcore."""

    def __init__(self, kept: Bitmap) -> None:
        self.kept = kept
        self.pieces = loads(OURS)
        self.true = loads()
        self.lost: list[int] = []  # kept by makedumpfile; absent here, or other bytes
        self.found: list[int] = []  # not kept by makedumpfile; here not zero
        self.wrong: list[int] = []  # those of them that have other bytes here
        self.zeroed: list[int] = []  # not kept; read as zeros here, and held something
        self.known_zero = 0

    def run(self, only: range | None = None) -> Comparison:
        """Compare all, or only the pages in a range of page frame numbers."""
        with opened(OURS) as ours, opened(VMCORE) as true:
            for piece in self.pieces:
                origin = self._origin(piece)
                for first, end, value in self._runs(piece, only):
                    self._judge(ours, piece, true, origin, range(first, end), kept=value)
        for load in self.true:
            self._covered(load, only)
        return self

    def _origin(self, piece: Segment) -> Segment:
        """The PT_LOAD that the piece is a part of."""
        for load in self.true:
            if (
                load.virt - load.phys == piece.virt - piece.phys
                and load.phys <= piece.phys
                and piece.phys + piece.memory <= load.phys + load.size
            ):
                expect(piece.size in (0, piece.memory), f"{piece}: p_filesz 0x{piece.size:x}")
                return load
        raise CheckError(f"{piece} is in no PT_LOAD of {VMCORE} with its virtual addresses")

    def _runs(self, piece: Segment, only: range | None) -> Iterator[tuple[int, int, bool]]:
        pages = whole(piece)
        if only is not None:
            pages = range(max(pages.start, only.start), min(pages.stop, only.stop))
        return self.kept.runs(pages.start, pages.stop)

    def _judge(
        self, ours: int, piece: Segment, true: int, origin: Segment, pages: range, *, kept: bool
    ) -> None:
        step = MIB // PAGE
        for start in range(pages.start, pages.stop, step):
            part = range(start, min(start + step, pages.stop))
            size = len(part) * PAGE
            here = bytes(size)
            if piece.size:
                here = read(ours, piece.offset + start * PAGE - piece.phys, size)
            there = read(true, origin.offset + start * PAGE - origin.phys, size)
            expect(len(here) == len(there) == size, f"{piece}: ends early")
            if not piece.size:
                self.known_zero += len(part)
            other = _differing(part, here, there)
            if kept:
                self.lost += other
            else:
                found = _differing(part, here, bytes(size))
                self.found += found
                self.wrong += sorted({*other}.intersection(found))
                self.zeroed += sorted({*other}.difference(found))

    def _covered(self, load: Segment, only: range | None) -> None:
        """Demand that every kept page of a PT_LOAD is in a piece of that PT_LOAD."""
        mine = [piece for piece in self.pieces if piece.virt - piece.phys == load.virt - load.phys]
        covered = {pfn for piece in mine for pfn in whole(piece)}
        for first, end, value in self._runs(load, only):
            if value:
                self.lost += [pfn for pfn in range(first, end) if pfn not in covered]

    def marks(self) -> bytes:
        """A byte for each page: HERE with its true bytes, HIDDEN if it is memory and is not.

        A page of zeros that makedumpfile drops is neither, in a piece: both look alike.
        """
        marks = bytearray(max(whole(load).stop for load in self.true))
        for load in self.true:
            pages = whole(load)
            marks[pages.start : pages.stop] = bytes([HIDDEN]) * len(pages)
        for piece in self.pieces:
            for first, end, kept in self._runs(piece, None):
                marks[first:end] = bytes([HERE if kept else 0]) * (end - first)
        for pfn in self.found:
            marks[pfn] = HERE
        for pfn in (*self.lost, *self.wrong, *self.zeroed):
            marks[pfn] = HIDDEN
        return bytes(marks)


def whole(segment: Segment) -> range:
    """The pages that a segment has all of; makedumpfile judges no others."""
    return range(-(-segment.phys // PAGE), (segment.phys + segment.memory) // PAGE)


def _differing(pages: Iterable[int], left: bytes, right: bytes) -> list[int]:
    if left == right:
        return []
    return [
        pfn
        for index, pfn in enumerate(pages)
        if left[index * PAGE : (index + 1) * PAGE] != right[index * PAGE : (index + 1) * PAGE]
    ]
