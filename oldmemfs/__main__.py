# SPDX-License-Identifier: MIT
"""``python3 -m oldmemfs``."""

from .cli import main

raise SystemExit(main())
