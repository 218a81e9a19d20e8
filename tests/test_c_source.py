# SPDX-License-Identifier: MIT
"""The C code: clang-format would change nothing, and gcc's static analyzer finds nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.mounting import run

ROOT = Path(__file__).parents[1]
HELPER = sorted(path for path in (ROOT / "csrc").glob("*.c") if path.name != "oldmem.csrc.c")
SOURCES = sorted([*(ROOT / "csrc").glob("*.[ch]"), *(ROOT / "tests").rglob("*.c")])


def analyze(path: Path) -> str:
    """The warnings of `gcc -fanalyzer` for one C file."""
    if not shutil.which("gcc"):
        pytest.skip("no gcc here: tests/run.sh installs it (apt-get install gcc)")
    flags = ("-std=gnu11", "-O1", "-Wall", "-Wextra", "-fanalyzer")
    return run("gcc", *flags, "-c", "-o", "/dev/null", str(path), timeout=600).stderr


def test_the_files_are_found() -> None:
    names = {path.name for path in SOURCES}
    assert names >= {"oldmem.h", "table.c", "verdict.h", "window.c", "slowpread.c"}
    assert "server.c" in {path.name for path in HELPER}


def test_clang_format_changes_nothing() -> None:
    if not shutil.which("clang-format"):
        pytest.skip("no clang-format here: tests/run.sh installs it (apt-get install clang-format)")
    done = run("clang-format", "--dry-run", "--Werror", *map(str, SOURCES), timeout=600)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", HELPER, ids=lambda path: str(path.name))
def test_the_analyzer_finds_nothing(path: Path) -> None:
    assert analyze(path) == ""


def test_the_analyzer_finds_a_double_free(tmp_path: Path) -> None:
    source = tmp_path / "wrong.c"
    source.write_text("#include <stdlib.h>\nvoid f(void *p)\n{\n    free(p);\n    free(p);\n}\n")
    assert "-Wanalyzer-double-free" in analyze(source)
