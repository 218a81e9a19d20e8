# SPDX-License-Identifier: MIT
"""Logs that page tables make larger than the image: bounded work and memory, and a sentence.

The dead kernel's page tables may show one page at every address of a log of 2 GiB. Each test here
gives the readers such a log, counts what they read, and measures what they hold.
"""

from __future__ import annotations

import json
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from support import rings
from support.rings import many
from support.space import Space

from oldmemfs.kernel.printk import Log, Record, as_json, as_text, buffer, read_log, render
from oldmemfs.kernel.printk.record import MAX_RECORDS, MAX_TEXT
from oldmemfs.kernel.virtual import Remembered
from oldmemfs.kernel.vmcoreinfo import Vmcoreinfo

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20
DATA = 0x7000_0000_0000
RECORD = bytes(8) + (16).to_bytes(2, "little") + bytes(6)  # len is 16: no text


class Aliased:
    """``head`` at its own addresses, and ``page`` again and again in 4 GiB from ``DATA`` on."""

    word = 8
    big_endian = False

    def __init__(self, head: Space, page: bytes) -> None:
        self._head, self._page = head, page * 18  # 64 KiB from anywhere in a page
        self.bytes_read = 0
        self.reads = 0

    def read(self, virt: int, size: int) -> bytes:
        self.reads += 1
        self.bytes_read += size
        if not DATA <= virt < DATA + (4 << 30):
            return self._head.read(virt, size)
        at = (virt - DATA) % 4096
        return self._page[at : at + size]


def peak(work: Callable[[], object]) -> int:
    """The most bytes of Python's that ``work`` holds at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def old_log(page: bytes, **values: int) -> tuple[Aliased, Vmcoreinfo]:
    """A log of 3.5 .. 5.9, or before, of these numbers; its bytes are ``page``, repeated."""
    space = Space(regions={0x1000: bytearray(0x100)})
    space.put(0x1000, "P", DATA)
    lines = ["SYMBOL(log_buf)=1000"]
    for i, (name, value) in enumerate(values.items()):
        space.put(0x1010 + 8 * i, "I", value)
        lines.append(f"SYMBOL({name})={0x1010 + 8 * i:x}")
    offsets = {"ts_nsec": 0, "len": 8, "text_len": 10, "dict_len": 12}
    lines += [f"OFFSET(printk_log.{name})={at}" for name, at in offsets.items()]
    lines.append("SIZE(printk_log)=16")
    return Aliased(space, page), Vmcoreinfo.parse("\n".join(lines).encode())


def test_a_record_buffer_of_one_page_shown_two_gib_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """With smaller limits, that it takes no minute; four million records were walked."""
    assert (MAX_RECORDS, buffer._MAX_WALKED) <= (1 << 18, 1 << 25)
    monkeypatch.setattr(buffer, "MAX_RECORDS", 1000)
    monkeypatch.setattr(buffer, "_MAX_WALKED", MIB)
    virtual, info = old_log(
        RECORD * 256, log_buf_len=1 << 31, log_first_idx=0, log_next_idx=(1 << 31) - 16
    )
    log = read_log(virtual, info)
    assert len(log.records) == 1000
    assert any("bytes before the newest" in sentence for sentence in log.skipped)
    assert any("records before the newest" in sentence for sentence in log.skipped)
    assert virtual.bytes_read < 2 * MIB


def test_the_newest_records_of_a_long_buffer_are_found_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The walk begins in the midst of a record; the second lap begins at 0."""
    monkeypatch.setattr(buffer, "_MAX_WALKED", MIB)
    text = b"x" * 108
    one = bytes(8) + (128).to_bytes(2, "little") + len(text).to_bytes(2, "little") + bytes(4)
    page = (one + text).ljust(128, b"\0") * 32
    virtual, info = old_log(page, log_buf_len=1 << 30, log_first_idx=4096, log_next_idx=2048)
    log = read_log(virtual, info)
    assert {record.text for record in log.records} == {text}
    assert len(log.records) == MIB // 128 - 1  # the one in whose midst it begins is lost
    assert not any("broken" in sentence for sentence in log.skipped)


@pytest.mark.parametrize("page", [b"\n" * 4096, b"a\n" * 2048, b"x" * 4096])
def test_a_text_ring_of_one_page_shown_four_gib_long(page: bytes) -> None:
    virtual, info = old_log(
        page, log_buf_len=(1 << 32) - 1, log_end=(1 << 32) - 1, logged_chars=(1 << 32) - 1
    )
    found: list[Log] = []
    assert peak(lambda: found.append(read_log(virtual, info))) < 150 * MIB  # it was 1.5 GB
    (log,) = found
    assert len(log.records) <= MAX_RECORDS
    assert sum(len(record.text) for record in log.records) <= MAX_TEXT
    assert any("more characters than" in sentence for sentence in log.skipped)
    if b"\n" in page:
        assert any("lines before the newest" in sentence for sentence in log.skipped)


def test_texts_that_lie_all_over_memory() -> None:
    """A text in another 64 KiB for every record: not 64 KiB are read for each."""
    aliased = Aliased(Space(), bytes(4096))
    reader = Remembered(aliased)
    for i in range(1 << 14):
        reader.read(DATA + i * 0xFFF0 % (1 << 31), 16)
    assert aliased.bytes_read < 400 * MIB  # it was 1 GiB


def test_a_remembering_reader_gives_the_same_before_and_after_it_turns_to_small_chunks() -> None:
    aliased = Aliased(Space(), bytes(range(256)) * 16)
    reader = Remembered(aliased)
    for i in range(5000):
        at = DATA + i * 0x1_0010
        assert reader.read(at, 40) == aliased.read(at, 40)


@pytest.mark.parametrize("shown", [as_text, as_json])
@pytest.mark.parametrize("byte", [b"\x1b", b"\xff"])
def test_text_that_grows_when_it_is_shown(
    shown: Callable[[Log], bytes], byte: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte becomes 4 or 7: the newest records are shown, and the file says what is not."""
    assert render.MAX_SHOWN <= 3 << 24
    monkeypatch.setattr(render, "MAX_SHOWN", MIB)
    records = tuple(Record(i, i, 6, 0, None, byte * 1024) for i in range(1024))
    out: list[bytes] = []
    assert peak(lambda: out.append(shown(Log(records)))) < 3 * MIB
    (data,) = out
    assert len(data) <= MIB + 1000
    lines = data.splitlines()
    assert b"skipped" in lines[-1]
    assert b"records before the last" in lines[-1]
    if shown is as_json:
        assert json.loads(lines[-2])["seq"] == len(records) - 1


def test_a_whole_log_of_many_records_is_whole() -> None:
    """A busy machine's 16 MiB: nothing of it is cut."""
    text = b"usb 1-1: new high-speed USB device number 5 using xhci_hcd, and more of the same"
    records = tuple(Record(i, i, 6, 0, None, text) for i in range(MAX_TEXT // len(text)))
    assert as_text(Log(records)).count(b"\n") == len(records)
    assert b"skipped" not in as_json(Log(records))


def test_json_has_no_character_that_a_terminal_obeys() -> None:
    text = "red \x9b31m, \x7f, \u202eback\u2066, a soft\u00adhyphen, \U000e0041, é and 漢"
    line = as_json(Log((Record(1, 2, 6, 0, None, text.encode()),)))
    assert line.decode().rstrip("\n").isprintable()
    assert "é and 漢" in line.decode()
    assert json.loads(line)["text"] == text


def test_rings_are_still_read() -> None:
    """The bounds leave a ring of ordinary size alone."""
    space = Space()
    info, standing = rings.buffer(space, many(20))
    assert [r.text for r in read_log(space, info).records] == [m.text for _, m in standing]
