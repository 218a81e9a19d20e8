# SPDX-License-Identifier: MIT
"""What the program does besides mounting: --check, --list, --info."""
