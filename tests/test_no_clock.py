# SPDX-License-Identifier: MIT
"""No test depends on how fast the machine is: each file of tests is looked through."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
CLOCKS = {"monotonic", "perf_counter", "monotonic_ns", "perf_counter_ns"}
LONG = 120  # seconds: what is waited for less than that fails on a machine that is busy


def is_short(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Constant) and isinstance(node.value, int | float) and node.value < LONG
    )


def found(source: str) -> Iterator[str]:
    """What depends on a clock, by line."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in CLOCKS:
            yield f"{node.lineno}: {name}: bound processor time, with tests/support/budget.py"
        words = {k.arg: k.value for k in node.keywords}
        deadline = words.get("deadline")
        if isinstance(deadline, ast.Constant) and deadline.value is not None:
            yield f"{node.lineno}: {name}: a deadline is of the clock: use tests/support/budget.py"
        short = "timeout" in words and is_short(words["timeout"])
        if short or (name == "wait" and any(map(is_short, node.args))):
            yield f"{node.lineno}: {name}: wait for PATIENCE, of tests/support/mounting.py"


@pytest.mark.parametrize(
    "path",
    [p for p in sorted(HERE.rglob("test_*.py")) if p.parts[len(HERE.parts)] != "vm"],
    ids=lambda path: path.name,
)
def test_no_clock_decides(path: Path) -> None:
    assert list(found(path.read_text())) == []


@pytest.mark.parametrize(
    ("source", "count"),
    [("time.monotonic()", 1), ("process.wait(20)", 1), ("run(x, timeout=60.0)", 1),
     ("settings(deadline=5000)", 1), ("settings(deadline=None)", 0),
     ("process.wait(PATIENCE)", 0), ("run(x, timeout=600)", 0), ("time.process_time()", 0)],
)  # fmt: skip
def test_what_is_looked_for(source: str, count: int) -> None:
    assert len(list(found(source))) == count
