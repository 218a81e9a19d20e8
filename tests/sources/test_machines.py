# SPDX-License-Identifier: MIT
"""Where QEMU's machines put their RAM, by its hw/i386/pc_piix.c, pc_q35.c, microvm.c and virt.c."""

from __future__ import annotations

import pytest

from oldmemfs.errors import UsageError
from oldmemfs.options import Piece
from oldmemfs.ranges import Range
from oldmemfs.sources.raw import machine_map

G = 1 << 30
FOUR = 4 * G


@pytest.mark.parametrize(
    ("machine", "size", "low"),
    [
        (None, 8 * G, 8 * G), ("pc", 3 * G, 3 * G), ("pc", 0xE0000000, 3 * G), ("pc", 8 * G, 3 * G),
        ("q35", 2 * G, 2 * G), ("q35", 0xAFF00000, 0xAFF00000), ("q35", 0xB0000000, 2 * G),
        ("microvm", 3 * G, 3 * G), ("microvm", 4 * G, 3 * G),
    ],
)  # fmt: skip
def test_the_hole_below_4_gib(machine: str | None, size: int, low: int) -> None:
    expected = [Piece(Range(0, low), 0)]
    if low < size:
        expected.append(Piece(Range(FOUR, FOUR + size - low), low))
    assert list(machine_map(machine, size)) == expected


def test_virt() -> None:
    assert machine_map("virt", G) == (Piece(Range(G, 2 * G), 0),)
    assert machine_map("riscv-virt", G) == (Piece(Range(2 * G, 3 * G), 0),)


def test_amd_hole_is_not_guessed() -> None:
    with pytest.raises(UsageError, match="-o ram="):
        machine_map("pc", 1 << 40)
