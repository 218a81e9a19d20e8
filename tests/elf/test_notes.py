# SPDX-License-Identifier: MIT
"""Notes, whole and hostile."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cores import note

from oldmemfs.elf.notes import Note, notes

orders = pytest.mark.parametrize("big_endian", [False, True])


@orders
def test_notes_up_to_the_empty_one(big_endian: bool) -> None:
    first = note(b"CORE\0", 1, b"12345", big_endian=big_endian)
    second = note(b"VMCOREINFO\0", 0, b"OSRELEASE=6.1\n", big_endian=big_endian)
    end = len(first) + len(second)
    assert list(notes(first + second + bytes(12) + first, big_endian)) == [
        Note(b"CORE", 1, b"12345", 0, len(first)),
        Note(b"VMCOREINFO", 0, b"OSRELEASE=6.1\n", len(first), end),
    ]


@orders
def test_an_offline_processor_has_none(big_endian: bool) -> None:
    assert list(notes(bytes(368), big_endian)) == []
    assert list(notes(b"", big_endian)) == []


def test_the_last_one_may_lack_its_padding() -> None:
    data = note(b"CORE\0", 1, b"12345")[:-3]
    assert [(n.desc, n.end) for n in notes(data, False)] == [(b"12345", len(data))]
    assert list(notes(data[:-1], False)) == []


@pytest.mark.parametrize("sizes", [(0xFFFFFFFF, 0), (5, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF)])
def test_sizes_past_the_end(sizes: tuple[int, int]) -> None:
    good = note(b"CORE\0", 1, b"1")
    bad = struct.pack("<3I", *sizes, 1) + b"CORE\0\0\0\0" + bytes(100)
    assert [n.desc for n in notes(good + bad, False)] == [b"1"]


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes(data: bytes, big_endian: bool) -> None:
    end = 0
    for n in notes(data, big_endian):
        assert n.offset == end < n.end <= len(data)
        end = n.end
