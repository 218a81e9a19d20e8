"""The kinds of old memory, in the order in which they are tried.

A member has a ``NAME`` and ``open(path, options) -> Dump``. It raises ``SourceError`` when the path
is not of its kind or cannot be opened (the next one is tried), and any other ``OldmemError`` when
it is of its kind but broken (that is the end).
"""

from __future__ import annotations

import os
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

    Raises ``SourceError`` with every member's reason when none fits; a reason that all share is
    told once.
    """
    if path is not None:
        _check_path(path)
    reasons: dict[str, str] = {}
    for member in MEMBERS:
        if options.source not in (None, member.NAME):
            continue
        if member is devmem and options.source is None and path not in (None, devmem.DEVICE):
            continue  # a file is no device: no reason worth a word
        try:
            return member.open(path, options)
        except SourceError as error:
            reasons[member.NAME] = str(error)
    if len(set(reasons.values())) == 1:
        raise SourceError(next(iter(reasons.values())))
    raise SourceError("; ".join(f"{name}: {reason}" for name, reason in reasons.items()))


def _check_path(path: str) -> None:
    try:
        os.stat(path)
    except FileNotFoundError as error:
        raise SourceError(f"{path}: there is no such file") from error
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error
    if not os.access(path, os.R_OK):
        raise SourceError(f"{path}: no permission to read it; be root, or its owner")
