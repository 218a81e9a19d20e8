# SPDX-License-Identifier: MIT
"""The text ring, and what all generations share."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support import rings
from support.mounting import PATIENCE
from support.rings import DATA, ROOT, SOME, Message, many
from support.space import Space, vmcoreinfo
from support.wordsizes import machines

from oldmemfs.errors import FormatError
from oldmemfs.kernel.printk import Log, Record, as_json, as_text, read_log

if TYPE_CHECKING:
    from pathlib import Path


OLD = b"<5>[    0.000000] Linux version 2.6.32\n<6>[   12.345678] \xff\x00raw\nno lead\n<13>user\n"


@machines
def test_lines(word: int, big_endian: bool) -> None:
    space = Space(word, big_endian)
    info, text = rings.lines(space, OLD)
    log = read_log(space, info)
    assert as_text(log) == text == OLD
    assert [tuple(r[1:6]) for r in log.records] == [
        (0, 5, 0, None, b"Linux version 2.6.32"), (12_345_678_000, 6, 0, None, b"\xff\x00raw"),
        (None, None, None, None, b"no lead"), (None, 5, 1, None, b"user"),
    ]  # fmt: skip


@machines
def test_lines_wrap(word: int, big_endian: bool) -> None:
    space = Space(word, big_endian)
    info, text = rings.lines(space, OLD * 100)
    assert len(text) == 0x1000
    assert as_text(read_log(space, info)) == text


def test_lines_with_a_hole_and_too_many_characters() -> None:
    space = Space()
    info, text = rings.lines(space, b"0123456\n" * 0x400, size=0x2000)
    space.put(ROOT + 24, "I", 0xFFFFFFFF)
    space.holes.append((DATA + 0x1800, DATA + 0x1801))
    log = read_log(space, info)
    assert as_text(log).startswith(text[:0x1000] + b"-- oldmemfs skipped")
    assert len(log.skipped) == 2


def test_no_log() -> None:
    with pytest.raises(FormatError, match=r"VMCOREINFO has none of SYMBOL\(prb\)"):
        read_log(Space(), vmcoreinfo(SYMBOL={"_stext": 1}))
    with pytest.raises(FormatError, match=r"no SIZE\(prb_desc\)"):
        read_log(Space(), vmcoreinfo(SYMBOL={"prb": 1}))


def test_json_loses_no_byte() -> None:
    every = bytes(range(256))
    log = Log((Record(7, 1_000_000_001, 3, 0, 1 << 31 | 5, every), Record(8, 2, 6, 1, 42, b"\n")))
    first, second = (json.loads(line, parse_float=str) for line in as_json(log).splitlines())
    assert bytes.fromhex(first["text_hex"]) == every
    assert first["text"][-2:] == "ff"
    assert (first["time"], first["caller"]) == ("1.000000001", "C5")
    assert second == {
        "seq": 8, "time": "0.000000002", "level": 6, "facility": 1, "caller": "T42", "text": "\n"
    }  # fmt: skip


@pytest.mark.skipif(
    not shutil.which("vmcore-dmesg"), reason="no vmcore-dmesg here: apt-get install kexec-tools"
)
@machines
@pytest.mark.parametrize("generation", ["lockless", "buffer", "lines"])
def test_equals_vmcore_dmesg(word: int, big_endian: bool, generation: str, tmp_path: Path) -> None:
    space = Space(word, big_endian)
    messages = [*SOME, Message(bytes(range(256)), 3), *many(500)]
    if generation == "lockless":
        messages = [*many(300), *SOME, Message(bytes(range(256)), 3), *many(20)]
        messages += [replace(m, failed=True) for m in many(3)]
        info, _ = rings.lockless(space, messages, end_rule=False)
    elif generation == "buffer":
        info, _ = rings.buffer(space, [*many(300), *messages[:40]], size=0x4000)
    else:
        info, _ = rings.lines(space, OLD * 100)
    space.save(tmp_path / "core", info)
    answer = subprocess.run(
        ["vmcore-dmesg", tmp_path / "core"], capture_output=True, check=True, timeout=PATIENCE
    )
    log = read_log(space, info)
    told = answer.stdout
    if generation == "buffer":  # the tool shows the mark at the end of a lap as a record
        assert told.count(b"\n[    0.000000] \n") == 1
        told = told.replace(b"\n[    0.000000] \n", b"\n")
    assert as_text(replace(log, skipped=())) == told
