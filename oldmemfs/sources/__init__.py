# SPDX-License-Identifier: MIT
"""The kinds of sources of old memory, in the order in which they are tried.

Each member has a ``NAME`` and ``open(path, options) -> Dump``. It raises ``SourceError`` if the
path is not of its kind or cannot be opened; then the next member is tried. It raises any other
``OldmemError`` if the path is of its kind but broken; that error is final.
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
    """The functions and names that a module in ``MEMBERS`` has."""

    @property
    def NAME(self) -> str:  # noqa: N802
        """The value of ``-o source=`` that selects it."""

    def open(self, path: str | None, options: Options) -> Dump:
        """The dump at ``path``; None means the old memory of this machine (a capture kernel)."""


MEMBERS: tuple[Member, ...] = (devmem, elf, raw)  # raw comes last: it accepts any file


def open_source(path: str | None, options: Options) -> Dump:
    """The dump of the first member that can open ``path``.

    Raises ``SourceError`` with the reason of every member if none can; a reason that all of them
    share is given once. Other ``OldmemError`` of a member are not caught.
    """
    if path is not None:
        _check_path(path)
    reasons: dict[str, str] = {}
    for member in MEMBERS:
        if options.source not in (None, member.NAME):
            continue
        if member is devmem and options.source is None and path not in (None, devmem.DEVICE):
            continue  # nobody who names a file means /dev/mem: its reason would only confuse
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
        raise SourceError(f"{path}: no permission to read it; run this as root or as its owner")
