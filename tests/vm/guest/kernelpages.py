# SPDX-License-Identifier: MIT
"""`vmcore-kern` against makedumpfile, the dead kernel's own word, and its users' memory."""

from __future__ import annotations

import functools
import os
import re
from typing import TYPE_CHECKING

from . import pageflags, referees
from .checks import MOUNT
from .compare import opened, read
from .comparison import HERE, HIDDEN, OURS, Comparison, whole
from .pages import KINDS, PAGE
from .report import CheckError, emit, expect
from .search import search
from .vmcore import Segment, notes

if TYPE_CHECKING:
    from .referees import Bitmap

_TOLD = 6  # pages named in a message
_MOST = 5000  # pages that the host is told of, to judge them by their struct pages


@functools.cache
def _compared() -> tuple[Bitmap, Bitmap, Comparison]:
    """The pages that are memory, those that makedumpfile keeps, and how ours are."""
    memory, kept, _ = referees.kept_pages()
    return memory, kept, Comparison(kept).run()


def kernel_pages() -> str:
    """Every page that makedumpfile keeps is here, every page that it drops is not.

    Of a kernel that it does not follow, tails of compound pages that it drops are here if the
    kernel itself says that they are its own; if the kernel said otherwise some moments before, the
    host judges. The same comparison must object to a page more and to a page less in
    makedumpfile's set.
    """
    memory, kept, seen = _compared()
    pieces = [piece for piece in seen.pieces if piece.size]
    found = seen.found
    late: list[int] = []
    if _no_tails():
        said = pageflags.said()
        late = [pfn for pfn in found if not _own_tail(said[pfn])]
        found = []
    emit(
        "pages",
        makedumpfile=referees.version(),
        memory=memory.count(),
        kept=kept.count(),
        in_the_file=sum(len(whole(piece)) for piece in pieces),
        pieces=len(pieces),
        known_zero=seen.known_zero,
        zeroed=len(seen.zeroed),
        lost=len(seen.lost),
        found=len(seen.found),
        here=late,
    )
    expect(len(late) <= _MOST, f"{len(late)} pages that makedumpfile drops are here")
    _none(
        ("that makedumpfile keeps are not here", seen.lost),
        ("that makedumpfile drops are here", found),
        ("have other bytes here", seen.wrong),
    )
    _must_object(kept, _page_with_data(pieces, kept))
    _must_object(kept, _absent(memory, seen))
    return (
        f"{kept.count()} of {memory.count()} pages kept, as makedumpfile {referees.version()} does,"
        f" and {len(seen.found)} tails"
    )


def _own_tail(word: int) -> bool:
    return bool(word & pageflags.KERNEL and word & pageflags.TAIL)


def _no_tails() -> bool:
    """Whether makedumpfile takes tails for pages of their own: up to 1.7.9, since Linux 7.1."""
    (info,) = (contents for name, contents in notes() if name == b"VMCOREINFO")
    version = tuple(int(number) for number in re.findall(r"\d+", referees.version()))
    return b"OFFSET(page.compound_info)=" in info and version <= (1, 7, 9)


def page_flags() -> str:
    """Every page is here or left out as the first kernel's own flags of it demand.

    One that is otherwise must have changed hands since: the host judges it by its struct page. The
    same comparison must object to a slab page less, and to a page more that is not the kernel's.
    """
    memory, kept, seen = _compared()
    said, marks = pageflags.said(), seen.marks()
    unlike = pageflags.unlike(said, marks)
    tail = pageflags.SLAB | pageflags.TAIL
    emit(
        "flags",
        kernel=pageflags.count(said, marks, pageflags.KERNEL),
        slab=pageflags.count(said, marks, pageflags.SLAB),
        slab_tails=pageflags.count(said, marks, tail),
        out=pageflags.count(said, marks, pageflags.OUT),
        changed=pageflags.count(said, marks, pageflags.CHANGED),
        hidden=[pfn for pfn in unlike if marks[pfn] == HIDDEN],
        here=[pfn for pfn in unlike if marks[pfn] == HERE],
        slab_that_makedumpfile_drops=sum(
            bool(word & pageflags.SLAB) and pfn in memory and pfn not in kept
            for pfn, word in enumerate(said)
        ),
        makedumpfile_follows=not _no_tails(),
    )
    expect(len(unlike) <= _MOST, f"{len(unlike)} pages are not as the kernel said")
    for kind, now, then in ((tail, HERE, HIDDEN), (pageflags.OUT, HIDDEN, HERE)):
        pairs = enumerate(zip(said, marks, strict=False))
        pfn = next(pfn for pfn, (word, mark) in pairs if word & kind == kind and mark == now)
        other = bytearray(marks)
        other[pfn] = then
        expect(pfn in pageflags.unlike(said, bytes(other)), f"page 0x{pfn:x} is not compared")
    return f"{len(unlike)} pages are not as the kernel said before"


def _none(*faults: tuple[str, list[int]]) -> None:
    """Demand that no page is at fault."""
    told = [
        f"{len(pages)} pages {what}: {' '.join(f'0x{pfn:x}' for pfn in pages[:_TOLD])}"
        for what, pages in faults
        if pages
    ]
    expect(not told, "; ".join(told))


def _must_object(kept: Bitmap, pfn: int) -> None:
    wrong = Comparison(kept.flipped(pfn)).run(range(pfn, pfn + 1))
    expect(bool(wrong.lost or wrong.found), f"page 0x{pfn:x} is not compared")


def _page_with_data(pieces: list[Segment], kept: Bitmap) -> int:
    with opened(OURS) as ours:
        for piece in reversed(pieces):
            for pfn in whole(piece):
                if pfn in kept and any(read(ours, piece.offset + pfn * PAGE - piece.phys, PAGE)):
                    return pfn
    raise CheckError("no kept page has data")


def _absent(memory: Bitmap, seen: Comparison) -> int:
    """A page that is in no piece."""
    covered = {pfn for piece in seen.pieces for pfn in whole(piece)}
    for load in seen.true:
        for pfn in whole(load):
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
