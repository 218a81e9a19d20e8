"""Sizes as people say them."""


def human(size: int) -> str:
    """A size as people say it, never rounded up to the next unit."""
    units = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
    step = min(max(size.bit_length() - 1, 0) // 10, len(units) - 1)
    return (
        f"{size} bytes" if not step else f"{size * 10 // (1 << 10 * step) / 10:.1f} {units[step]}"
    )


def exact(size: int) -> str:
    """The bytes, and how people say them where that is shorter."""
    return str(size) if size < 1 << 10 else f"{size} ({human(size)})"
