# SPDX-License-Identifier: MIT
"""The address of the elfcorehdr blob, from a kernel command line or from the device tree."""

from __future__ import annotations

import string
import struct

_WORD = 2**64
# ELFCORE_ADDR_MAX and ELFCORE_ADDR_ERR of include/linux/crash_dump.h: no address.
NOT_GIVEN, UNUSABLE = _WORD - 1, _WORD - 2
_SUFFIXES = {"K": 10, "M": 20, "G": 30, "T": 40, "P": 50, "E": 60}


def memparse(text: str) -> tuple[int, int]:
    """The number at the start of ``text``, and how many characters it takes, suffix included.

    As memparse() in the kernel's lib/cmdline.c: ``0x`` is hex, a leading ``0`` octal, anything else
    decimal; then at most one suffix of K, M, G, T, P, E in either case. The value is modulo 2^64.
    Text behind the number is ignored. Without a digit the answer is ``(0, 0)``.
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
    """The physical address in ``elfcorehdr=[size[KMG]@]offset[KMG]``; None if it is not given.

    If it is given several times, the last one counts. An empty or malformed value is address 0, as
    in the kernel (setup_elfcorehdr). Words after a bare ``--`` are arguments of init and do not
    count.
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
    """The physical address in the property /chosen/linux,elfcorehdr; None if it is malformed.

    The property is an address and a size, big-endian, in cells of 4 bytes. ``address_cells`` is the
    root node's #address-cells: 1 or 2.
    """
    size = 4 * address_cells
    if address_cells not in (1, 2) or len(value) <= size:
        return None
    return int(struct.unpack(">I" if address_cells == 1 else ">Q", value[:size])[0])
