"""Where the header blob is: ``elfcorehdr=`` on a command line, or the device tree."""

from __future__ import annotations

import string
import struct

_WORD = 2**64
NOT_GIVEN, UNUSABLE = _WORD - 1, _WORD - 2  # the kernel's sentinels
_SUFFIXES = {"K": 10, "M": 20, "G": 30, "T": 40, "P": 50, "E": 60}


def memparse(text: str) -> tuple[int, int]:
    """A number as the kernel's memparse reads it, and how many characters it took.

    ``0x`` hex, leading ``0`` octal, else decimal; then at most one of K, M, G, T, P, E, either
    case. Overflow wraps; trailing text is left alone.
    """
    base, start = 10, 0
    if text[:1] == "0":
        base = 8
        if text[1:2] in ("x", "X") and text[2:3] and text[2] in string.hexdigits:
            base, start = 16, 2
    allowed = string.hexdigits if base == 16 else string.digits[:base]
    end = start
    while end < len(text) and text[end] in allowed:
        end += 1
    if end == start:
        return 0, 0
    value = int(text[start:end], base)
    shift = _SUFFIXES.get(text[end : end + 1].upper(), 0)
    return (value << shift) % _WORD, end + (shift > 0)


def elfcorehdr(command_line: str) -> int | None:
    """The address that ``elfcorehdr=[size[KMG]@]offset[KMG]`` gives; the last one wins.

    None when there is none. An empty or unreadable value is address 0, as in the kernel; what
    stands behind a bare ``--`` belongs to init.
    """
    address = None
    for word in command_line.split():
        if word == "--":
            break
        key, equals, value = word.partition("=")
        if key.strip('"') != "elfcorehdr" or not equals:
            continue
        address, used = memparse(value)
        if used and value[used : used + 1] == "@":
            address, _ = memparse(value[used + 1 :])
    return None if address in (NOT_GIVEN, UNUSABLE) else address


def device_tree_address(value: bytes, address_cells: int) -> int | None:
    """The address in /chosen/linux,elfcorehdr: big endian, as many cells as the root says."""
    size = 4 * address_cells
    if address_cells not in (1, 2) or len(value) <= size:
        return None
    return int(struct.unpack(">I" if address_cells == 1 else ">Q", value[:size])[0])
