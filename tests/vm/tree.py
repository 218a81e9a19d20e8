# SPDX-License-Identifier: MIT
"""The payload's tree, and what an emulated machine needs besides."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from oldmemfs.commands import payload

if TYPE_CHECKING:
    from pathlib import Path


class Tree(payload.Tree):
    """The root folder of an emulated machine."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        for folder in ("dev", "proc", "sys", "run", "tmp", "mnt/dump", "etc"):
            (root / folder).mkdir(parents=True, exist_ok=True)

    def copy_of(self, root: Path) -> Tree:
        """The same tree in another folder, to be grown separately."""
        shutil.copytree(self.root, root, symlinks=True)
        twin = Tree(root)
        twin._linked = set(self._linked)
        return twin

    def busybox(self, applets: tuple[str, ...]) -> None:
        """The one program under several names."""
        self.program("busybox", aliases=applets)
