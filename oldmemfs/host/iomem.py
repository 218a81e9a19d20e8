"""/proc/iomem: the capture kernel's map of its physical addresses.

Its ends are inclusive; they become half-open here and nowhere else.
"""

from __future__ import annotations

from ..ranges import Range


def top_level(text: str) -> list[tuple[Range, str]]:
    """The resources that lie in no other one, with their names."""
    found: list[tuple[Range, str]] = []
    for line in text.splitlines():
        span, separator, name = line.partition(" : ")
        if not separator or line.startswith(" "):
            continue
        first, _, last = span.partition("-")
        try:
            found.append((Range(int(first, 16), int(last, 16) + 1), name))
        except ValueError:
            continue
    return found
