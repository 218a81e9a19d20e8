# SPDX-License-Identifier: MIT
"""The taint of the dead kernel: the mask ``tainted_mask``, whose bits have a letter each.

The table is the kernel's (Documentation/admin-guide/tainted-kernels.rst).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import FormatError
from .kallsyms import addresses
from .virtual import Remembered

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .virtual import Virtual
    from .vmcoreinfo import Vmcoreinfo

FLAGS = (  # by bit
    ("P", "proprietary module"),
    ("F", "module loaded by force"),
    ("S", "processor outside of its specification"),
    ("R", "module unloaded by force"),
    ("M", "machine check"),
    ("B", "bad page"),
    ("U", "requested by user space"),
    ("D", "died before: oops or BUG"),
    ("A", "ACPI table overridden"),
    ("W", "warning"),
    ("C", "staging driver"),
    ("I", "firmware bug worked around"),
    ("O", "out-of-tree module"),
    ("E", "unsigned module"),
    ("L", "soft lockup"),
    ("K", "live patch"),
    ("X", "auxiliary, the distribution's own"),
    ("T", "randomised structures"),
    ("N", "in-kernel test"),
    ("J", "fwctl's debug commands"),
)
SYMBOL = "tainted_mask"


def read_taint(
    virtual: Virtual, info: Vmcoreinfo, table: Callable[[], Mapping[str, int]] | None = None
) -> int:
    """The mask in memory; its address is in VMCOREINFO or in the kernel's symbol table.

    ``table`` gives the result of a search of the symbol table, if one was made already.

    Raises ``FormatError`` or ``FaultError`` when it is not found or cannot be read.
    """
    symbol = info.symbol(SYMBOL)
    if symbol is None:
        found = table() if table else addresses(virtual, info, [SYMBOL])
        symbol = found.get(SYMBOL)
    if symbol is None:
        raise FormatError(f"the symbol table has no {SYMBOL}")
    return Remembered(virtual).pointer(symbol)


def letters(mask: int) -> str:
    """The letters of the bits that are set; an unknown bit is ``?``."""
    known = "".join(letter for bit, (letter, _) in enumerate(FLAGS) if mask >> bit & 1)
    return known + "?" * (mask >> len(FLAGS)).bit_count()


def mask_of(text: str) -> int:
    """The mask of the letters after ``Tainted:`` in a log; ``G`` and blanks stand for no bit."""
    return sum(1 << bit for bit, (letter, _) in enumerate(FLAGS) if letter in text)
