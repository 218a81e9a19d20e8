# SPDX-License-Identifier: MIT
"""The documents: every file that they name is there, and every command that they show starts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / name
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/save.md",
                 "tests/vm/README.md", "docs/architecture.md", "docs/adding.md",
                 "docs/evidence.md", "docs/details.md")
]  # fmt: skip
TOOLS = sorted({*(ROOT / "tests/tools").glob("*.py")})
each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)


@each_document
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text()
    for target in re.findall(r"\]\(([^)]+)\)", text):
        name, _, anchor = target.partition("#")
        linked = (path.parent / name) if name else path
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings]
            assert anchor in slugs, target


@each_document
def test_named_files_are_there(path: Path) -> None:
    named = re.findall(
        r"(?<![/\w])(?:docs|examples|oldmemfs|csrc|tests)/[\w./-]+\.\w+", path.read_text()
    )
    assert [n for n in named if "NAME" not in n and not (ROOT / n).exists()] == []


def test_the_machines_modules_are_there() -> None:
    folder = ROOT / "tests/vm"
    named = re.findall(r"`([\w/.]+\.(?:py|sh))", (folder / "README.md").read_text())
    assert [n for n in named if not (folder / n).exists() and not (ROOT / n).exists()] == []


def test_the_readme_is_short() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 160
    assert [line for line in lines if len(line) > 100] == []


def test_secrets_are_warned_of_before_the_first_copy() -> None:
    readme = (ROOT / "README.md").read_text()
    assert readme.index("secrets") < readme.index("scp ")


@pytest.mark.parametrize("tool", TOOLS, ids=lambda p: p.name)
def test_tools_find_their_modules(tool: Path) -> None:
    """Started as a script, from any folder: nothing but their own folder is on the path then."""
    program = f"import runpy; runpy.run_path({str(tool)!r}, run_name='imported')"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd="/", check=False
    )
    assert "ModuleNotFoundError" not in done.stderr, done.stderr


def test_every_source_file_names_its_licence() -> None:
    """In its first lines; LICENSE and pyproject.toml say the same."""
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
    assert 'license = "MIT"' in (ROOT / "pyproject.toml").read_text()
    folders = (ROOT / name for name in ("csrc", "docs", "examples", "oldmemfs", "tests"))
    sources = [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix in (".py", ".sh", ".c", ".h") or path.name == "CMakeLists.txt"
    ]
    assert len(sources) > 200
    silent = [
        str(path.relative_to(ROOT))
        for path in sources
        if "SPDX-License-Identifier: MIT" not in "".join(path.read_text().splitlines()[:4])
    ]
    assert silent == []
