# SPDX-License-Identifier: MIT
"""Imports point one way: a room stands above every room that it imports."""

from __future__ import annotations

import ast
from pathlib import Path

import oldmemfs

ROOT = Path(oldmemfs.__file__).parent
# From the ground up; the rooms of one line know nothing of each other.
ORDER = (
    ("errors", "ranges", "__init__"),
    ("host", "maps", "options"),
    ("elf",),
    ("kernel",),
    ("dump",),
    ("filter", "sources"),
    ("views",),
    ("commands", "fuse"),
    ("cli",),
    ("__main__",),
)
FLOOR = {room: floor for floor, rooms in enumerate(ORDER) for room in rooms}
# Only these files know the C helper.
EXTENSION = {
    "filter/classes.py", "fuse/server.py", "host/hide.py", "maps/pagemask.py", "maps/table.py",
}  # fmt: skip


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imported(path: Path) -> set[tuple[str, ...]]:
    """What a file imports of the package, as parts of its dotted name; those for types, too."""
    here = ("oldmemfs", *path.relative_to(ROOT).parent.parts)
    found: set[tuple[str, ...]] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            found |= {(*base, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {tuple(alias.name.split(".")) for alias in node.names}
    return {parts[1:] for parts in found if parts[0] == "oldmemfs" and parts[1:]}


FILES = sorted(ROOT.rglob("*.py"))


def test_every_file_has_a_room() -> None:
    assert {room_of(path) for path in FILES} == set(FLOOR)


def test_imports_point_one_way() -> None:
    upward = [
        f"{path.relative_to(ROOT)} imports {'.'.join(parts)}"
        for path in FILES
        for parts in imported(path)
        if (room := room_of(path)) != (other := parts[0])
        and other in FLOOR
        and FLOOR[other] >= FLOOR[room]
    ]
    assert upward == []


def test_only_few_know_the_extension() -> None:
    users = {
        str(path.relative_to(ROOT))
        for path in FILES
        if any(parts[0] == "_oldmem" for parts in imported(path))
    }
    assert users == EXTENSION


def test_nobody_outside_a_folder_names_its_members() -> None:
    open_to_all = {"views": {"catalog", "unreadable"}, "sources": {"liveheader"}}
    for room, known in open_to_all.items():
        members = {p.stem for p in (ROOT / room).glob("*.py")} - {"__init__", *known}
        for path in FILES:
            if room_of(path) != room:
                named = {parts[1] for parts in imported(path) if parts[0] == room and parts[1:]}
                assert not named & members, f"{path.name} names {named & members}"
