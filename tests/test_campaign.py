# SPDX-License-Identifier: MIT
"""A short campaign of damage to the recorded crashes; ``campaign.py`` makes long ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.damage import Target
from support.mounting import needs_mount
from support.recorded import each_golden
from tools import campaign

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CASES = 25
KINDS = {"header", "notes", "page table 0", "struct pages", "log", "log descs", "mem_section"}


@pytest.fixture
def target(golden: str, tmp_path: Path) -> Iterator[Target]:
    made = Target(golden, str(tmp_path))
    yield made
    made.close()


@each_golden
def test_damage_to_a_real_crash(target: Target) -> None:
    """An answer or an ``OldmemError``, and the undamaged crash is whole before and after."""
    assert target.check([]) == "whole"
    assert {place.kind for place in target.places} >= KINDS
    outcomes = {campaign.run(target, number) for number in range(CASES)}
    assert len(outcomes) > 1, "nothing was broken"
    assert target.check([]) == "whole"


@each_golden
@pytest.mark.parametrize("number", [7, 11])
@needs_mount[0]
@needs_mount[1]
def test_damage_to_a_real_crash_through_a_mount(
    target: Target, number: int, tmp_path: Path
) -> None:
    assert campaign.run(target, number, tmp_path / "mnt")


@each_golden
def test_a_case_can_be_run_again(target: Target) -> None:
    assert target.blows(3) == target.blows(3)
    assert target.blows(3) != target.blows(4)
