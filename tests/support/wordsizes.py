# SPDX-License-Identifier: MIT
"""A parameter of tests: both word sizes, both byte orders."""

from __future__ import annotations

import pytest

machines = pytest.mark.parametrize(
    ("word", "big_endian"), [(8, False), (8, True), (4, False), (4, True)]
)
