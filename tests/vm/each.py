# SPDX-License-Identifier: MIT
"""Machines as parameters of a fixture: each with its tests in one process of several."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def machines(named: Mapping[str, object], more: Iterable[str]) -> list[object]:
    """Parameters of a fixture by name; those in ``more`` only for `sh tests/run.sh --vm-all`.

    The colon tells ``conftest.py`` where a machine's name ends.
    """
    wanted = [pytest.mark.vm_more]
    return [
        pytest.param(machine, id=f"{name}:", marks=wanted if name in more else [])
        for name, machine in named.items()
    ]
