# SPDX-License-Identifier: MIT
"""The tree of inodes: a file for each view, and the directories that slashes in its name make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..views.catalog import LiveView, View

ROOT = 1  # FUSE_ROOT_ID
_NONE: dict[bytes, int] = {}  # the children of a file; shared, never changed


@dataclass(slots=True)
class Node:
    """A file (``view`` is set) or a directory (``view`` is None; ``children``: name -> inode)."""

    inode: int
    view: View | LiveView | None
    parent: int
    children: dict[bytes, int]


def build_inodes(views: Iterable[View | LiveView]) -> dict[int, Node]:
    """The nodes of all files and directories, by inode; the root is ``ROOT``."""
    nodes = {ROOT: Node(ROOT, None, ROOT, {})}

    def child(parent: Node, name: bytes, view: View | LiveView | None) -> Node:
        inode = parent.children.get(name)
        if inode is None:
            inode = len(nodes) + ROOT
            nodes[inode] = Node(inode, view, parent.inode, _NONE if view else {})
            parent.children[name] = inode
        return nodes[inode]

    for view in views:
        *directories, name = view.name.encode().split(b"/")
        node = nodes[ROOT]
        for directory in directories:
            node = child(node, directory, None)
        child(node, name, view)
    return nodes
