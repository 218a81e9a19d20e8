# SPDX-License-Identifier: MIT
"""Tests share helpers through support/ only: none imports another test, or another room's files."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FILES = sorted(TESTS.rglob("*.py"))
ROOMS = {path.parent.name for path in FILES if path.parent.parent == TESTS}
SHARED = {"support", "tools"}  # tools/: programs, which a test may start or import as its subject


def imported(text: str, path: Path) -> set[tuple[str, ...]]:
    """The modules that a file in tests/ imports, as parts of their names seen from tests/."""
    here = path.relative_to(TESTS).parent.parts
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            found |= {(*base, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {tuple(alias.name.split(".")) for alias in node.names}
    return {parts[1:] if parts[0] == "tests" else parts for parts in found}


def refused(text: str, path: Path) -> list[str]:
    """The imports of a file that break the rule."""
    room = path.relative_to(TESTS).parts[0]
    return [
        ".".join(parts)
        for parts in sorted(imported(text, path))
        if any(part.startswith("test_") for part in parts) or parts[0] in ROOMS - SHARED - {room}
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TESTS)))
def test_helpers_come_from_support(path: Path) -> None:
    assert refused(path.read_text(), path) == []


@pytest.mark.parametrize(
    ("text", "place", "names"),
    [
        ("from fuse.test_mount import x", "fuse/test_bind.py", ["fuse.test_mount.x"]),
        ("from .test_kdump import x", "vm/test_small.py", ["vm.test_kdump.x"]),
        ("from . import test_kdump", "vm/test_small.py", ["vm.test_kdump"]),
        ("import tests.fuse.test_mount", "test_cli.py", ["fuse.test_mount"]),
        ("from vm.each import x", "fuse/test_mount.py", ["vm.each.x"]),
        ("from .each import x", "vm/test_kdump.py", []),
        ("from support.image import x\nimport os", "fuse/test_mount.py", []),
        ("from tools import campaign", "test_campaign.py", []),
    ],
)
def test_what_the_rule_refuses(text: str, place: str, names: list[str]) -> None:
    assert refused(text, TESTS / place) == names
