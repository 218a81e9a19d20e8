# SPDX-License-Identifier: MIT
"""Sizes in bytes as text for people."""


def human(size: int) -> str:
    """``4.2 GiB``: in the largest unit of which it has one, rounded down to a tenth."""
    units = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
    step = min(max(size.bit_length() - 1, 0) // 10, len(units) - 1)
    return (
        f"{size} bytes" if not step else f"{size * 10 // (1 << 10 * step) / 10:.1f} {units[step]}"
    )


def exact(size: int) -> str:
    """``4508876800 (4.1 GiB)``; below 1 KiB the number alone."""
    return str(size) if size < 1 << 10 else f"{size} ({human(size)})"
