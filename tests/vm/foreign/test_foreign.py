# SPDX-License-Identifier: MIT
"""Real crashes of other architectures: what oldmemfs on this host makes of their memory.

About a minute each; an architecture whose emulator is not installed is skipped.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from ..each import machines
from .build import crash, lacking
from .registry import CHECKS, without
from .targets import ALWAYS, MORE, TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .crashed import Crashed

pytestmark = pytest.mark.vm


@pytest.fixture(
    scope="module", params=machines({name: TARGETS[name] for name in (*ALWAYS, *MORE)}, MORE)
)
def crashed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Crashed]:
    """One crash, shared by its checks."""
    target = request.param
    if missing := lacking(target):
        pytest.skip(f"this host lacks {missing}: see tests/vm/setup.sh")
    work = tmp_path_factory.mktemp(f"foreign-{target.arch}-{target.series}")
    yield crash(target, work)
    shutil.rmtree(work)


@pytest.mark.parametrize("name", CHECKS)
def test_check(crashed: Crashed, name: str, record_property: Callable[[str, object], None]) -> None:
    if reason := without(crashed.target, name):
        pytest.skip(reason)
    told = CHECKS[name](crashed)
    record_property("measured", f"{crashed.target.arch} {crashed.target.series} {name}: {told}")
