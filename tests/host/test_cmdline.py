# SPDX-License-Identifier: MIT
"""Every form of elfcorehdr= (the kernel's memparse, its sentinels, the device tree)."""

from __future__ import annotations

import pytest

from oldmemfs.host.cmdline import device_tree_address, elfcorehdr


@pytest.mark.parametrize(
    ("line", "address"),
    [
        ("console=ttyS0 nr_cpus=1", None),
        ("elfcorehdr=0x13000000 console=ttyS0", 0x13000000),
        ("console=ttyS0 elfcorehdr=441716K", 441716 << 10),
        ("elfcorehdr=16K@0x2000000", 0x2000000),
        ("elfcorehdr=16k@32m", 32 << 20),
        ("elfcorehdr=010K", 8 << 10),
        ("elfcorehdr=0X10m", 16 << 20),
        ("elfcorehdr=0x10E", 0x10E),
        ("elfcorehdr=1G", 1 << 30),
        ("elfcorehdr=2T", 2 << 40),
        ("elfcorehdr=0x1000zz", 0x1000),
        ("elfcorehdr=4096K,foo", 4096 << 10),
        ("elfcorehdr=16K@", 0),
        ("elfcorehdr=", 0),
        ("elfcorehdr=junk", 0),
        ("elfcorehdr", None),
        ("elfcorehdr=1M elfcorehdr=2M", 2 << 20),
        ("elfcorehdr=1M -- elfcorehdr=2M", 1 << 20),
        ("elfcorehdr=-1", 0),
        ("elfcorehdr=0xffffffffffffffff", None),
        ("elfcorehdr=18446744073709551614", None),
        ("elfcorehdr=0x10000000000000001", 1),
        ("elfcorehdr=09", 0),
        ("myelfcorehdr=1M", None),
    ],
)
def test_command_line(line: str, address: int | None) -> None:
    assert elfcorehdr(line) == address


@pytest.mark.parametrize(
    ("value", "cells", "address"),
    [
        ("0000000047a00000 0000000000010000", 2, 0x47A00000),
        ("47a00000 00010000", 1, 0x47A00000),
        ("47a00000", 1, None),
        ("", 2, None),
        ("0000000047a00000 00001000", 3, None),
    ],
)
def test_device_tree(value: str, cells: int, address: int | None) -> None:
    assert device_tree_address(bytes.fromhex(value), cells) == address
