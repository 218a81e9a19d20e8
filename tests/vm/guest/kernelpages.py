"""`vmcore-kern` against makedumpfile and against the memory of the dead kernel's users."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from . import oracle
from .checks import MOUNT
from .compare import MIB, opened, read
from .pages import KINDS, PAGE
from .report import CheckError, emit, expect
from .search import search
from .vmcore import VMCORE, Segment, loads

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .oracle import Bitmap

OURS = f"{MOUNT}/vmcore-kern"
_TOLD = 6  # pages named in a message


class Comparison:
    """The file, page by page, against a set of kept pages and /proc/vmcore."""

    def __init__(self, kept: Bitmap) -> None:
        self.kept = kept
        self.pieces = loads(OURS)
        self.true = loads()
        self.lost: list[int] = []  # kept by makedumpfile; absent here, or other bytes
        self.found: list[int] = []  # not kept by makedumpfile; here not zero
        self.zeroed = 0  # pages that read as zeros here and held something
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
        whole = _whole(piece)
        if only is not None:
            whole = range(max(whole.start, only.start), min(whole.stop, only.stop))
        return self.kept.runs(whole.start, whole.stop)

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
            if kept and here != there:
                self.lost += _differing(part, here, there)
            elif not kept:
                zeros = bytes(size)
                if here != zeros:
                    self.found += _differing(part, here, zeros)
                if there != zeros:
                    self.zeroed += len(_differing(part, there, zeros))

    def _covered(self, load: Segment, only: range | None) -> None:
        """Demand that every kept page of a PT_LOAD is in a piece of that PT_LOAD."""
        mine = [piece for piece in self.pieces if piece.virt - piece.phys == load.virt - load.phys]
        covered = {pfn for piece in mine for pfn in _whole(piece)}
        for first, end, value in self._runs(load, only):
            if value:
                self.lost += [pfn for pfn in range(first, end) if pfn not in covered]

    def verdict(self) -> None:
        told = [
            f"{len(pages)} pages {what}: {' '.join(f'0x{pfn:x}' for pfn in pages[:_TOLD])}"
            for what, pages in (
                ("that makedumpfile keeps are not here", self.lost),
                ("that makedumpfile drops are here", self.found),
            )
            if pages
        ]
        expect(not told, "; ".join(told))


def _whole(segment: Segment) -> range:
    """The pages that a segment has all of; makedumpfile judges no others."""
    return range(-(-segment.phys // PAGE), (segment.phys + segment.memory) // PAGE)


def _differing(pages: Iterable[int], left: bytes, right: bytes) -> list[int]:
    return [
        pfn
        for index, pfn in enumerate(pages)
        if left[index * PAGE : (index + 1) * PAGE] != right[index * PAGE : (index + 1) * PAGE]
    ]


def kernel_pages() -> str:
    """Every page that makedumpfile keeps is here, every page that it drops is not.

    The same comparison must object to a page more and to a page less in makedumpfile's set.
    """
    memory, kept, _ = oracle.kept_pages()
    seen = Comparison(kept).run()
    pieces = [piece for piece in seen.pieces if piece.size]
    emit(
        "pages",
        makedumpfile=oracle.version(),
        memory=memory.count(),
        kept=kept.count(),
        in_the_file=sum(len(_whole(piece)) for piece in pieces),
        pieces=len(pieces),
        known_zero=seen.known_zero,
        zeroed=seen.zeroed,
        lost=len(seen.lost),
        found=len(seen.found),
    )
    seen.verdict()
    _must_object(kept, _page_with_data(pieces, kept))
    _must_object(kept, _absent(memory, seen))
    return f"{kept.count()} of {memory.count()} pages kept, as makedumpfile {oracle.version()} does"


def _must_object(kept: Bitmap, pfn: int) -> None:
    wrong = Comparison(kept.flipped(pfn)).run(range(pfn, pfn + 1))
    expect(bool(wrong.lost or wrong.found), f"page 0x{pfn:x} is not compared")


def _page_with_data(pieces: list[Segment], kept: Bitmap) -> int:
    with opened(OURS) as ours:
        for piece in reversed(pieces):
            for pfn in _whole(piece):
                if pfn in kept and any(read(ours, piece.offset + pfn * PAGE - piece.phys, PAGE)):
                    return pfn
    raise CheckError("no kept page has data")


def _absent(memory: Bitmap, seen: Comparison) -> int:
    """A page that is in no piece."""
    covered = {pfn for piece in seen.pieces for pfn in _whole(piece)}
    for load in seen.true:
        for pfn in _whole(load):
            if pfn in memory and pfn not in covered:
                return pfn
    raise CheckError("every page is in the file")


def user_memory() -> str:
    """Not one page of the users' is in `vmcore-kern`; the same search finds all in `vmcore`."""
    known, _ = search(f"{MOUNT}/vmcore")
    expect(min(known[kind] for kind in KINDS) > 500, f"vmcore: only {dict(known)}")
    seen, copied = search(OURS)
    expect(not seen, f"vmcore-kern has user memory: {dict(seen)}")
    size = os.stat(OURS).st_size
    expect(size == copied, f"a copy has {copied} bytes, stat says {size}")
    found = " ".join(f"{kind}:{known[kind]}" for kind in KINDS)
    return f"0 in {size} bytes of vmcore-kern; in vmcore {found}"
