# SPDX-License-Identifier: MIT
"""oldmemfs: a crashed Linux kernel's memory as files."""

__version__ = "0.1.0"
