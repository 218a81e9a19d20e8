# SPDX-License-Identifier: MIT
"""A real kernel crash in an emulated machine, with oldmemfs mounted in the capture kernel."""

import sys
from pathlib import Path

_ROOT = Path(__file__).parents[2]
# `python -m` looks here first, where oldmemfs has no C part: the installed one is meant.
if sys.path[0] in ("", str(_ROOT)):
    sys.path.append(sys.path.pop(0))
