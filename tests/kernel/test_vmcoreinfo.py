# SPDX-License-Identifier: MIT
"""VMCOREINFO: every form of line, and text that is none."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oldmemfs.errors import FormatError
from oldmemfs.kernel.vmcoreinfo import MAX_TEXT, Vmcoreinfo

TEXT = b"""OSRELEASE=6.12.0-rc3+
BUILD-ID=3b43fad5034874490492495d552c0af6a5fab235
PAGESIZE=4096
SYMBOL(init_uts_ns)=ffffffff9cdf9b60
SYMBOL(decimal_looking)=10
SYMBOL(nowhere)=0
SIZE(page)=64
OFFSET(page.flags)=0
LENGTH(zone.free_area)=11
NUMBER(phys_base)=-6291456
NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-129
NUMBER(kimage_voffset)=0xffff7fff70000000
NUMBER(bare_hex)=ff8
CONFIG_X86_PAE=y
KERNELOFFSET=1a200000
CRASHTIME=1795220275"""


def test_every_form() -> None:
    info = Vmcoreinfo.parse(TEXT)
    assert info.text == TEXT
    assert info.release == "6.12.0-rc3+"
    assert info.version == (6, 12, 0)
    assert info.build_id == "3b43fad5034874490492495d552c0af6a5fab235"
    assert info.page_size == 4096
    assert info.symbol("init_uts_ns") == 0xFFFFFFFF9CDF9B60
    assert info.symbol("decimal_looking") == 0x10
    assert info.symbol("nowhere") is None
    assert info.size_of("page") == 64
    assert info.offset("page.flags") == 0
    assert info.length("zone.free_area") == 11
    assert info.number("phys_base") == -6291456
    assert info.number("PAGE_BUDDY_MAPCOUNT_VALUE") == -129
    assert info.number("kimage_voffset") == 0xFFFF7FFF70000000
    assert info.number("bare_hex") == 0xFF8
    assert info.config("X86_PAE")
    assert not info.config("X86_64")
    assert info.kernel_offset == 0x1A200000
    assert info.crash_time == 1795220275


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("6.12.0-rc3+", (6, 12, 0)),
        ("5.14.0-503.el9", (5, 14, 0)),
        ("7.1", (7, 1, 0)),
        ("4.4.302", (4, 4, 302)),
        ("4", (4, 0, 0)),
        ("debian", (0, 0, 0)),
        ("", (0, 0, 0)),
        ("\u0664.1", (0, 0, 0)),  # digits, but not the kernel's
    ],
)
def test_version(release: str, version: tuple[int, int, int]) -> None:
    assert Vmcoreinfo.parse(f"OSRELEASE={release}\n".encode()).version == version


def test_what_is_missing_is_none() -> None:
    info = Vmcoreinfo.parse(b"")
    assert (info.release, info.page_size, info.build_id, info.crash_time) == (None,) * 4
    assert info.symbol("x") is info.offset("x") is info.size_of("x") is info.length("x") is None
    assert info.number("x") is info.kernel_offset is None


def test_a_key_that_is_needed() -> None:
    info = Vmcoreinfo.parse(TEXT)
    assert info.need("SYMBOL(decimal_looking)") == 0x10
    assert info.need("SIZE(page)", among=range(4, 65, 4)) == 64
    assert info.need("PAGESIZE", among=(4096, 8192)) == 4096
    assert info.need("NUMBER(phys_base)") == -6291456
    assert info.need("SYMBOL(a)", "SYMBOL(nowhere)", "SYMBOL(init_uts_ns)") == 0xFFFFFFFF9CDF9B60


@pytest.mark.parametrize(
    ("keys", "among", "why"),
    [
        (["SIZE(a)"], None, "VMCOREINFO has no SIZE(a)"),
        (["SIZE(a)", "SIZE(b)"], None, "VMCOREINFO has none of SIZE(a), SIZE(b)"),
        (["SIZE(page)"], range(65, 80),
         "VMCOREINFO says SIZE(page)=64, which no kernel has (accepted: 65 to 79)"),
        (["SIZE(page)"], range(0), "VMCOREINFO says SIZE(page)=64, which no kernel has"),
        (["SIZE(a)", "SYMBOL(nowhere)"], None,
         "VMCOREINFO says SYMBOL(nowhere)=0, which no kernel has"),
        (["OSRELEASE"], None, "VMCOREINFO says OSRELEASE=6.12.0-rc3+, which no kernel has"),
    ],
)  # fmt: skip
def test_why_a_needed_key_is_refused(keys: list[str], among: range | None, why: str) -> None:
    with pytest.raises(FormatError, match=f"^{re.escape(why)}$"):
        Vmcoreinfo.parse(TEXT).need(*keys, among=among)


def test_nothing_is_needed_of_no_text() -> None:
    with pytest.raises(FormatError, match="there is no VMCOREINFO in the dump's notes"):
        Vmcoreinfo.parse(b"").need("PAGESIZE")


def test_padding_is_no_text() -> None:
    info = Vmcoreinfo.parse(b"PAGESIZE=4096\n\0\0\0PAGESIZE=1\nSIZE(page)=1\n")
    assert info.text == b"PAGESIZE=4096\n"
    assert info.size_of("page") is None


def test_the_first_of_two_counts() -> None:
    assert Vmcoreinfo.parse(b"SIZE(page)=64\nSIZE(page)=1\n").size_of("page") == 64


NO_NUMBERS = ["", "-", "+1", "1_0", " 1", "1 ", "0x", "--1", "1e3z", "\u0661"]
TOO_LONG = ["1" * 5000, "f" * 17, "99999999999999999999"]


@pytest.mark.parametrize("value", NO_NUMBERS + TOO_LONG)
def test_what_is_no_number(value: str) -> None:
    text = f"NUMBER(n)={value}\nSYMBOL(n)={value}g\nSIZE(n)={value}\n"
    info = Vmcoreinfo.parse(text.encode())
    assert info.number("n") is info.symbol("n") is info.size_of("n") is None


def test_a_size_is_not_negative() -> None:
    info = Vmcoreinfo.parse(b"SIZE(n)=-1\nOFFSET(n)=-1\nLENGTH(n)=-8\n")
    assert info.size_of("n") is info.offset("n") is info.length("n") is None


def test_a_long_text_is_cut() -> None:
    info = Vmcoreinfo.parse(b"x" * MAX_TEXT + b"\nPAGESIZE=4096\n")
    assert len(info.text) == MAX_TEXT
    assert info.page_size is None


@given(st.binary(max_size=2000))
def test_garbage_never_raises(text: bytes) -> None:
    info = Vmcoreinfo.parse(text)
    assert len(info.version) == 3
    for key in info.values:
        info.hex(key)
    assert info.page_size is None or isinstance(info.page_size, int)
    assert info.crash_time is None or isinstance(info.crash_time, int)


@given(st.integers(-(1 << 63), (1 << 64) - 1))
def test_numbers_come_back(value: int) -> None:
    text = f"NUMBER(d)={value}\nNUMBER(x)={abs(value):#x}\nSYMBOL(s)={abs(value):x}\n"
    info = Vmcoreinfo.parse(text.encode())
    assert info.number("d") == value
    assert info.number("x") == abs(value)
    assert info.symbol("s") == (abs(value) or None)
