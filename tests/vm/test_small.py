# SPDX-License-Identifier: MIT
"""The smallest capture kernel that the README names, and a little."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from . import small
from .tools import missing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.vm


def test_crashkernel_112m(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    lacking = missing()
    if lacking:
        pytest.skip(f"this host lacks {', '.join(lacking)}: see tests/vm/setup.sh")
    told = small.crash("112M", tmp_path)
    for image in tmp_path.glob("*.img"):
        image.unlink()
    record_property("measured", f"crashkernel=112M {told}")
    assert "problem" not in told
    assert told["vmcore"] == "equal"
    assert f"/mnt/dump/vmcore-kern {told['kernel']}" in told["sizes"]
