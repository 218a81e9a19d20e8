"""Real crashes of other architectures: what oldmemfs on this host makes of their memory.

About a minute each; an architecture whose emulator is not installed is skipped.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from . import foreign

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .foreign import Crashed

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module", params=foreign.TESTED)
def crashed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Crashed]:
    """One crash, shared by its checks."""
    target = foreign.TARGETS[request.param]
    if lacking := foreign.lacking(target):
        pytest.skip(f"this host lacks {lacking}")
    work = tmp_path_factory.mktemp(f"foreign-{request.param}")
    yield foreign.crash(target, work)
    shutil.rmtree(work)


@pytest.mark.parametrize("name", foreign.CHECKS)
def test_check(crashed: Crashed, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if reason := foreign.without(crashed.target, name):
        pytest.skip(reason)
    told = foreign.CHECKS[name](crashed)
    with capsys.disabled():
        print(f"\n{crashed.target.arch} {crashed.target.series} {name}: {told}")
