"""Imports point one way, as the design draws them."""

from __future__ import annotations

import ast
from pathlib import Path

import oldmemfs

ROOT = Path(oldmemfs.__file__).parent
ORDER = [
    "errors", "ranges", "table", "memory", "layout", "plan", "view", "filesystem", "mount", "cli",
]  # fmt: skip


def imported(path: Path) -> set[str]:
    """The package's modules that a file names, without the folder they are in."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            names |= {node.module.split(".")[0]} if node.module else {a.name for a in node.names}
    return names


def test_imports_point_one_way() -> None:
    for i, name in enumerate(ORDER):
        assert not imported(ROOT / f"{name}.py") & set(ORDER[i + 1 :]), name


def test_only_the_reader_of_tables_and_the_scan_know_the_extension() -> None:
    users = {p.stem for p in ROOT.rglob("*.py") if "_oldmem" in imported(p)}
    assert users <= {"table", "kept", "pages", "serve"}


def test_nobody_outside_a_folder_names_its_members() -> None:
    for folder in ("views", "sources"):
        members = {p.stem for p in (ROOT / folder).glob("*.py")} - {"__init__", "liveheader"}
        for path in ROOT.glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == folder:
                    named = {a.name for a in node.names} | set((node.module or "").split(".")[1:])
                    assert not named & members, f"{path.name} names {named & members}"
