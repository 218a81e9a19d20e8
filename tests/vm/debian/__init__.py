# SPDX-License-Identifier: MIT
"""A stock Debian that panics and saves its dump."""
