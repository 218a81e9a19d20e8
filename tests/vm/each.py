"""Machines as parameters of a fixture: each with its tests in one process of several."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable


def machines(kind: str, always: Iterable[object], more: Iterable[object]) -> list[object]:
    """Parameters; those of ``more`` only for `sh tests/run.sh --vm-all`."""
    return [
        pytest.param(machine, marks=[pytest.mark.xdist_group(f"{kind}-{machine}"), *marks])
        for group, marks in ((always, []), (more, [pytest.mark.vm_more]))
        for machine in group
    ]
