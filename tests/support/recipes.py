# SPDX-License-Identifier: MIT
"""The commands of examples/save.md, to be run as they are written."""

from __future__ import annotations

import re
from pathlib import Path

_RECIPES = Path(__file__).parents[2] / "examples/save.md"


def commands() -> list[str]:
    """Every command of the page, without its comment and what it shows."""
    lines = re.findall(r"^    (?:\$ )?([a-z]\S* .*)$", _RECIPES.read_text(), re.MULTILINE)
    return [re.sub(r" +#.*", "", line) for line in lines if not line.startswith("vmcore-kern ")]
