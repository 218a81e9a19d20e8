"""The names of the mount as a tree of inodes; directories come from the slashes in view names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..views.catalog import LiveView, View

ROOT = 1  # what FUSE calls the root
_NONE: dict[bytes, int] = {}  # a file's children


@dataclass(slots=True)
class Node:
    """One file (it has a view) or directory (it has children)."""

    inode: int
    view: View | LiveView | None
    parent: int
    children: dict[bytes, int]


def build_inodes(views: Iterable[View | LiveView]) -> dict[int, Node]:
    """All nodes by inode."""
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
