"""The files of the mount, in the order in which they are listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import badpages, oldmem, status, vmcore, vmcoreinfo

if TYPE_CHECKING:
    from ..view import LiveView, View

VIEWS: tuple[View | LiveView, ...] = (
    vmcore.VIEW,
    oldmem.VIEW,
    vmcoreinfo.VIEW,
    status.VIEW,
    badpages.VIEW,
)
