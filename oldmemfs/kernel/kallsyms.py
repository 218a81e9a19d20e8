# SPDX-License-Identifier: MIT
"""The dead kernel's symbol table (kallsyms): names -> addresses.

VMCOREINFO has the addresses of its parts since 6.0 (SYMBOL(kallsyms_names), _num_syms,
_token_table, _token_index, and _offsets or _addresses).

A name is stored as a length and that many token numbers. The texts of the tokens, joined, are the
symbol's type letter and its name::

    names        |2|0x54|0x9f|3|0x44|...      of symbol 0, of symbol 1, ...
    token_index  |0|3|...                     0x54 -> "T_"    0x9f -> "stext"
    offsets      |...|...|                    of symbol 0, of symbol 1, ...

The meaning of an entry of ``offsets`` changed three times. Each known meaning is tried; the right
one gives for ``_stext`` the address that VMCOREINFO states:

==================  ==============================================================================
until 6.10          kallsyms_addresses: the address itself, on some architectures
4.6 .. 6.19         kallsyms_relative_base + entry
4.6 .. 6.14         the same with per-CPU symbols at 0: an entry >= 0 is the address itself, a
                    negative one is relative_base - 1 - entry
since 7.0           the address of the entry + entry (signed); there is no relative_base
==================  ==============================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import FaultError, FormatError
from .virtual import Remembered

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from .virtual import Virtual
    from .vmcoreinfo import Vmcoreinfo

MAX_SYMBOLS = 1 << 21
_MAX_TOKENS = (1 << 14) - 1  # in one name: a length has 7 bits, since 6.1 up to 14
_MAX_TOKEN = 512  # bytes of one token; no name is longer (KSYM_NAME_LEN)
_MAX_NAMES = 1 << 26  # bytes of all names together
_PIECE, _PAGE = 1 << 16, 1 << 12
_TRIAL = "_stext"


def addresses(virtual: Virtual, info: Vmcoreinfo, names: Collection[str]) -> dict[str, int]:
    """The addresses of those of ``names`` that exist; of equal names the first symbol's.

    Raises ``FormatError`` or ``FaultError`` when the table cannot be read, or when no known meaning
    of its entries gives VMCOREINFO's SYMBOL(_stext).
    """
    stext = info.need(f"SYMBOL({_TRIAL})")
    table = Remembered(virtual)
    found = _indices(table, info, {_TRIAL, *names})
    if _TRIAL not in found:
        raise FormatError(f"the symbol table has no {_TRIAL}, so it is not valid")
    mask = (1 << 8 * table.word) - 1
    for address in _meanings(table, info):
        if address(found[_TRIAL]) & mask == stext:
            return {name: address(found[name]) & mask for name in names if name in found}
    raise FormatError(f"no known form of the symbol table puts {_TRIAL} at {stext:#x}")


def _indices(table: Remembered, info: Vmcoreinfo, names: Collection[str]) -> dict[str, int]:
    """The numbers of the symbols called ``names``."""
    tokens = _tokens(table, info)
    wanted = {name.encode(): name for name in names}
    # The first token starts with the type letter; only names with such a first token are decoded.
    heads = {i for i, token in enumerate(tokens) if any(w.startswith(token[1:]) for w in wanted)}
    longest = 1 + max(map(len, wanted))
    found: dict[str, int] = {}
    for index, coded in enumerate(_coded(table, info)):
        if coded and coded[0] in heads and len(coded) <= longest:
            name = b"".join([tokens[i] for i in coded])[1:]
            if name in wanted:
                found.setdefault(wanted[name], index)
                if len(found) == len(wanted):
                    break
    return found


def _tokens(table: Remembered, info: Vmcoreinfo) -> list[bytes]:
    texts = info.need("SYMBOL(kallsyms_token_table)")
    index = info.need("SYMBOL(kallsyms_token_index)")
    return [_text(table, texts + table.number(index + 2 * i, 2)) for i in range(256)]


def _text(table: Remembered, virt: int) -> bytes:
    """The bytes up to the NUL."""
    text = bytearray()
    while len(text) < _MAX_TOKEN:
        byte = table.number(virt + len(text), 1)
        if not byte:
            return bytes(text)
        text.append(byte)
    raise FormatError("a token of the symbol table has no end", virt)


def _coded(table: Remembered, info: Vmcoreinfo) -> Iterator[bytes]:
    """The token numbers of every name, in the order of the symbols."""
    count = table.number(info.need("SYMBOL(kallsyms_num_syms)"), 4)
    if count > MAX_SYMBOLS:
        raise FormatError(f"the symbol table claims {count:#x} symbols; no kernel has so many")
    pieces = _pieces(table, info.need("SYMBOL(kallsyms_names)"))
    data, at = b"", 0
    for _ in range(count):
        while at + 2 + _MAX_TOKENS > len(data) and (piece := next(pieces, b"")):
            data, at = data[at:] + piece, 0
        head = data[at : at + 2]
        if len(head) < 2:
            raise FormatError(f"the symbol table's names end before its {count:#x} symbols do")
        size, at = head[0], at + 1
        if size & 0x80:
            size, at = size & 0x7F | head[1] << 7, at + 1
        yield data[at : at + size]
        at += size


def _pieces(table: Remembered, virt: int) -> Iterator[bytes]:
    """The bytes from ``virt`` on, up to the first page that cannot be read."""
    size, end = _PIECE, virt + _MAX_NAMES
    while virt < end:
        try:
            piece = table.read(virt, size - virt % size)
        except FaultError:
            if size == _PAGE:
                return
            size = _PAGE
            continue
        yield piece
        virt += len(piece)


def _meanings(table: Remembered, info: Vmcoreinfo) -> Iterator[Callable[[int], int]]:
    """The known meanings of an entry: functions from a symbol's number to its address."""
    absolute = info.symbol("kallsyms_addresses")
    if absolute is not None:
        yield lambda i: table.pointer(absolute + table.word * i)
    offsets = info.symbol("kallsyms_offsets")
    if offsets is None:
        return

    def signed(i: int) -> int:
        return (table.number(offsets + 4 * i, 4) ^ 1 << 31) - (1 << 31)

    relative = info.symbol("kallsyms_relative_base")
    if relative is not None:
        base = table.pointer(relative)
        yield lambda i: base + table.number(offsets + 4 * i, 4)
        yield lambda i: signed(i) if signed(i) >= 0 else base - 1 - signed(i)
    yield lambda i: offsets + 4 * i + signed(i)
