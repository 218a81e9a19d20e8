"""The kinds of old memory, in the order in which they are tried.

A member has a ``NAME`` and ``open(path, options) -> Dump``. It raises ``SourceError`` when the path
is not of its kind or cannot be opened (the next one is tried), and any other ``OldmemError`` when
it is of its kind but broken (that is the end).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..errors import SourceError
from . import devmem, elf, raw

if TYPE_CHECKING:
    from ..dump import Dump
    from ..options import Options


class Member(Protocol):
    """What every module of this folder offers."""

    @property
    def NAME(self) -> str:  # noqa: N802
        """The word for ``-o source=``."""

    def open(self, path: str | None, options: Options) -> Dump:
        """The dump at ``path``; None means this machine's own old memory."""


MEMBERS: tuple[Member, ...] = (devmem, elf, raw)  # raw is last: it takes anything


def open_source(path: str | None, options: Options) -> Dump:
    """The dump that the first fitting member gives.

    Raises ``SourceError`` with every member's reason when none fits.
    """
    reasons = []
    for member in MEMBERS:
        if options.source not in (None, member.NAME):
            continue
        try:
            return member.open(path, options)
        except SourceError as error:
            reasons.append(f"{member.NAME}: {error}")
    raise SourceError("; ".join(reasons))
