# SPDX-License-Identifier: MIT
"""/proc/iomem: the running kernel's map of physical addresses.

The file has inclusive ends; this module converts them to half-open ranges.
"""

from __future__ import annotations

from ..ranges import Range


def top_level(text: str) -> list[tuple[Range, str]]:
    """The ranges of the outermost resources (lines without indentation), with their names.

    Lines of any other form are ignored.
    """
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
