# SPDX-License-Identifier: MIT
"""``--setup-debian``: run the script that lets kdump-tools save its dumps through oldmemfs.

The script is installed beside the program, because what it installs must work without Python.
"""

from __future__ import annotations

import os
import sysconfig
from typing import TYPE_CHECKING, NoReturn

from ..errors import OldmemError

if TYPE_CHECKING:
    from collections.abc import Sequence

_SCRIPT = "share/oldmemfs/debian/setup.sh"


def main(words: Sequence[str]) -> NoReturn:
    """Become the script, with these words: a view, ``--remove`` or ``--help``."""
    script = os.path.join(sysconfig.get_path("data"), _SCRIPT)
    if not os.path.exists(script):
        raise OldmemError(f"{script} is missing: install oldmemfs again, with pip")
    try:
        os.execv("/bin/sh", ["sh", script, *words])
    except OSError as error:
        raise OldmemError(f"cannot run /bin/sh: {error.strerror}") from error
