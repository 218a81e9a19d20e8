# SPDX-License-Identifier: MIT
"""The record buffer (3.5 .. 5.9, SYMBOL(log_first_idx)): records one after the other, in a ring.

::

    0            next_idx            first_idx                    log_buf_len
    |-rec-|-rec-|...................|-rec-|-rec-|-rec-|len = 0....|
                                    oldest, then from 0 on, up to next_idx

A record is a header, its text, its dictionary, and less than eight bytes of padding. VMCOREINFO
names the header's struct ``log`` up to 3.10, then ``printk_log``; since 5.1 it may have a
caller_id. After a broken record, the next place is searched where several valid records follow.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal, NamedTuple

from ...errors import FaultError, FormatError
from .record import MAX_RECORDS, MAX_TEXT, Log, Record, Skipped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..virtual import Remembered
    from ..vmcoreinfo import Vmcoreinfo

_ALIGN = 4  # bytes; 8 on machines that need it
_PADDING = 8
_CHAIN = 3  # so many valid records in a row mean that a place is a record
_SEARCH = 1 << 20  # bytes that are searched in one log, at most
_PAGE = 1 << 12
_MAX_WALKED = 1 << 25  # bytes of the buffer that are walked over: the newest ones
_MAX_LEN = 1 << 31  # bytes of a buffer; Linux allows 2 GiB
_MAX_HEADER = 1 << 8  # bytes; a header has 16, or 24 with the caller


class _Header(NamedTuple):
    len: int
    text_len: int
    dict_len: int


class _Buffer:
    """The buffer's place and the offsets of a header's fields."""

    def __init__(self, virtual: Remembered, info: Vmcoreinfo) -> None:
        name = "log" if info.size_of("printk_log") is None else "printk_log"
        self.virtual = virtual
        self.ts_nsec, self.len, self.text_len, self.dict_len = (
            info.need(f"OFFSET({name}.{field})")
            for field in ("ts_nsec", "len", "text_len", "dict_len")
        )
        last = max(self.len, self.text_len, self.dict_len) + 2
        self.header_size = info.need(f"SIZE({name})", among=range(last, _MAX_HEADER + 1))
        self.caller = info.offset(f"{name}.caller_id")
        self.data = virtual.pointer(info.need("SYMBOL(log_buf)"))
        self.size, self.first, self.next = (
            virtual.number(info.need(f"SYMBOL({key})"), 4)
            for key in ("log_buf_len", "log_first_idx", "log_next_idx")
        )
        self.order: Literal["little", "big"] = "big" if virtual.big_endian else "little"
        if not 0 < self.size <= _MAX_LEN:
            raise FormatError(f"log_buf_len is {self.size:#x}: no kernel has such a log", self.data)

    def header(self, index: int) -> _Header:
        """The lengths of the record at ``index``, in one read, because it is done very often."""
        data, order = self.virtual.read(self.data + index, self.header_size), self.order
        return _Header(
            int.from_bytes(data[self.len : self.len + 2], order),
            int.from_bytes(data[self.text_len : self.text_len + 2], order),
            int.from_bytes(data[self.dict_len : self.dict_len + 2], order),
        )

    def whole(self, index: int, header: _Header) -> bool:
        """Whether the lengths fit each other and the record ends inside the buffer."""
        used = self.header_size + header.text_len + header.dict_len
        padding = header.len - used
        return 0 <= padding < _PADDING and index + header.len <= self.size

    def record(self, index: int, seq: int) -> Record:
        """The record at ``index``, for which ``whole`` is true."""
        at, v = self.data + index, self.virtual
        bits = v.number(at + self.dict_len + 3, 1)  # flags:5, level:3
        return Record(
            seq=seq,
            ts_nsec=v.number(at + self.ts_nsec, 8),
            level=bits & 7 if v.big_endian else bits >> 5,
            facility=v.number(at + self.dict_len + 2, 1),
            caller=None if self.caller is None else v.number(at + self.caller, 4),
            text=v.read(at + self.header_size, v.number(at + self.text_len, 2)),
        )

    def believed(self, index: int, end: int) -> bool:
        """Whether ``_CHAIN`` valid records follow from ``index`` on, or fewer up to ``end``."""
        for done in range(_CHAIN):
            if index == end:
                return done > 0
            try:
                header = self.header(index)
            except FaultError:
                return False
            if header.len == 0 and end == self.size:  # the mark for: continue at 0
                return done > 0
            if not self.whole(index, header) or header.len % _ALIGN:
                return False
            index += header.len
        return index <= end


def places(virtual: Remembered, info: Vmcoreinfo) -> Iterator[tuple[int, int]]:
    """Where the buffer lies, as (virt, size)."""
    buffer = _Buffer(virtual, info)
    yield buffer.data, buffer.size


def read(virtual: Remembered, info: Vmcoreinfo) -> Log:
    """Every record from ``log_first_idx`` to ``log_next_idx``."""
    buffer, skipped = _Buffer(virtual, info), Skipped()
    newest: deque[int] = deque(maxlen=MAX_RECORDS)
    total = 0
    for index in _indices(buffer, skipped):
        newest.append(index)
        total += 1
    if total > len(newest):
        skipped.add(f"records before the newest {MAX_RECORDS}", f"{total - len(newest)}")
    records: list[Record] = []
    room = MAX_TEXT
    for seq, index in zip(range(total - 1, -1, -1), reversed(newest), strict=False):
        try:
            record = buffer.record(index, seq)
        except FaultError:
            skipped.add("records that cannot be read", f"index {index:#x}")
            continue
        room -= len(record.text)
        if room < 0:
            skipped.add(f"all before the newest {MAX_TEXT:#x} bytes of text", f"index {index:#x}")
            break
        records.append(record)
    return Log(tuple(reversed(records)), skipped.sentences())


def _indices(buffer: _Buffer, skipped: Skipped) -> Iterator[int]:
    """Where valid records start: from log_first_idx to the end of the buffer, then from 0 on."""
    first, end = buffer.first, buffer.next
    if max(first, end) >= buffer.size:
        skipped.add("indices outside of the log", f"{first:#x}..{end:#x} of {buffer.size:#x}")
        first, end = 0, buffer.size
    search = _Search(buffer)
    laps = [(first, buffer.size), (0, end)] if first > end else [(first, end)]
    total = sum(stop - start for start, stop in laps)
    if total <= _MAX_WALKED:
        for start, stop in laps:
            yield from _lap(search, start, stop, skipped)
        return
    skipped.add(f"bytes before the newest {_MAX_WALKED:#x}", f"index {first:#x}")
    nothing = True
    for start, stop in _without(laps, total - _MAX_WALKED):
        if (start, stop) not in laps:  # it was cut, so it may start inside a record
            start = search.forward(start, stop)
        for index in _lap(search, start, stop, skipped):
            nothing = False
            yield index
    if nothing:  # log_next_idx must be wrong; log_first_idx may still be right
        start, stop = laps[0]
        yield from _lap(search, start, min(stop, start + _MAX_WALKED), skipped)


def _without(laps: list[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    """``laps`` without their first ``size`` bytes."""
    for start, stop in laps:
        cut = min(size - size % _ALIGN, stop - start)
        size -= cut
        if start + cut < stop:
            yield start + cut, stop


def _lap(search: _Search, index: int, end: int, skipped: Skipped) -> Iterator[int]:
    """Where valid records start between ``index`` and ``end``."""
    buffer = search.buffer
    while index < end:
        try:
            header = buffer.header(index)
            broken = not buffer.whole(index, header) or index + header.len > end
            if header.len == 0 and end == buffer.size:  # the mark for: continue at 0
                return
        except FaultError:
            broken = True
        if not broken:
            yield index
            index += header.len
            continue
        start, index = index, search.forward(index, end)
        skipped.add("broken stretches", f"{start:#x}..{index:#x}")


class _Search:
    """Finds the next valid records after a broken one; it searches ``_SEARCH`` bytes in all."""

    def __init__(self, buffer: _Buffer) -> None:
        self.buffer = buffer
        self._left = _SEARCH

    def forward(self, index: int, end: int) -> int:
        """The first place after ``index`` that is a record, or ``end``."""
        start, index = index, index + _ALIGN
        limit = min(end, start + self._left)
        while index < limit and not self.buffer.believed(index, end):
            index = self._past(index)
        self._left -= min(index, limit) - start
        return index if index < limit else end

    def _past(self, index: int) -> int:
        """The next place to try: after a page that cannot be read, the page behind it."""
        try:
            self.buffer.header(index)
        except FaultError:
            virt = self.buffer.data + index
            return index + max(_PAGE - virt % _PAGE, _ALIGN) // _ALIGN * _ALIGN
        return index + _ALIGN
