"""Crash a real kernel in an emulated machine and hold oldmemfs to its promises there.

Takes about a minute for each loader; `pytest -m vm` runs nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .artifacts import keep
from .crash import CHECKS, Outcome, Setup, crash
from .tools import missing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.vm

_SERIES = ("6.1",)


@pytest.fixture(scope="module", params=[(s, x) for s in _SERIES for x in ("s", "c")], ids="-".join)
def outcome(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Outcome]:
    """One crash, shared by the tests that look at it."""
    lacking = missing()
    if lacking:
        pytest.skip(f"this host lacks {', '.join(lacking)}: see tests/vm/setup.sh")
    series, loader = request.param
    setup = Setup(series=series, loader=loader)
    work = tmp_path_factory.mktemp(f"vm-{series}-{loader}")
    yield crash(setup, work)
    for image in work.glob("*.img"):
        image.unlink()


def test_capture_kernel_came_to_its_end(outcome: Outcome) -> None:
    assert outcome.problems() == []


@pytest.mark.parametrize("name", CHECKS)
def test_check(outcome: Outcome, name: str) -> None:
    (record,) = [record for record in outcome.of("check") if record["name"] == name]
    assert record["ok"], record["detail"]


def test_crash_can_be_kept(outcome: Outcome, tmp_path: Path) -> None:
    keep(outcome, tmp_path / "kept")
    assert (tmp_path / "kept" / "elfcorehdr.bin").read_bytes()[:4] == b"\x7fELF"
    assert (tmp_path / "kept" / "ram.img.zst").stat().st_size > 1 << 20
