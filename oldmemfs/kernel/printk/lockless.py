# SPDX-License-Identifier: MIT
"""The lockless ring (5.10 and later, SYMBOL(prb)): descriptors by id, and a ring of texts.

::

    descs, infos   slot = id mod 2^count_bits                ids tail .. head are in use
    text           |next wrap's| ...free... |id|text..|id|text......|
                   0                        tail                    2^size_bits

The position of a text counts on over wraps; its place is position mod 2^size_bits. A block (an id
and its text) that does not fit before the end of the ring is stored whole at its start. Since 6.19
(67e1b0052f6b) a block may end exactly at the end of the ring, so a block has wrapped only if its
*last* byte is in the next wrap.

Records are read newest first, so that a limit cuts off the oldest.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ...errors import FaultError, FormatError
from .record import MAX_RECORDS, MAX_TEXT, Log, Record, Skipped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..virtual import Remembered
    from ..vmcoreinfo import Vmcoreinfo

_MAX_BITS = 31  # Linux allows 2 GiB of text, and there are fewer descriptors than bytes
_RESERVED, _COMMITTED, _FINALIZED, _REUSABLE = range(4)
_DATALESS = 1  # both positions have this bit if there is no text in the ring; both are 1: no room
_EMPTY_LINE = 3  # both positions are 3: the text is empty
_GIVE_UP = 1 << 16  # after so many unusable descriptors in a row the rest is not read


class _TextLostError(Exception):
    """The text of a record cannot be given; the message is the reason."""


class _Ring:
    """The addresses, offsets and sizes that lead to a descriptor, its info and its text."""

    def __init__(self, virtual: Remembered, info: Vmcoreinfo) -> None:
        offset, size = partial(_offset, info), partial(_size, info)
        self.virtual = virtual
        self.desc_size, self.info_size = size("prb_desc"), size("printk_info")
        self.state = offset("prb_desc.state_var") + offset("atomic_long_t.counter")
        block = offset("prb_desc.text_blk_lpos")
        self.begin = block + offset("prb_data_blk_lpos.begin")
        self.next = block + offset("prb_data_blk_lpos.next")
        self.seq, self.ts_nsec = offset("printk_info.seq"), offset("printk_info.ts_nsec")
        self.text_len = offset("printk_info.text_len")
        self.caller = info.offset("printk_info.caller_id")
        self.root = root = virtual.pointer(info.need("SYMBOL(prb)"))
        descs = root + offset("printk_ringbuffer.desc_ring")
        texts = root + offset("printk_ringbuffer.text_data_ring")
        counter = offset("atomic_long_t.counter")
        self.count_bits = _bits(virtual, descs + offset("prb_desc_ring.count_bits"))
        self.size_bits = _bits(virtual, texts + offset("prb_data_ring.size_bits"))
        self.descs = virtual.pointer(descs + offset("prb_desc_ring.descs"))
        self.infos = virtual.pointer(descs + offset("prb_desc_ring.infos"))
        self.data = virtual.pointer(texts + offset("prb_data_ring.data"))
        self.id_mask = (1 << 8 * virtual.word - 2) - 1  # the top two bits are the state
        head = virtual.pointer(descs + offset("prb_desc_ring.head_id") + counter)
        tail = virtual.pointer(descs + offset("prb_desc_ring.tail_id") + counter)
        self.head, self.tail = head & self.id_mask, tail & self.id_mask

    def slot(self, number: int) -> int:
        """The index of a descriptor's id in the two arrays."""
        return number & ((1 << self.count_bits) - 1)

    def record(self, number: int) -> Record:
        """The record of a descriptor, without its text."""
        at, v = self.infos + self.info_size * self.slot(number), self.virtual
        bits = v.number(at + self.text_len + 3, 1)  # flags:5, level:3
        return Record(
            seq=v.number(at + self.seq, 8),
            ts_nsec=v.number(at + self.ts_nsec, 8),
            level=bits & 7 if v.big_endian else bits >> 5,
            facility=v.number(at + self.text_len + 2, 1),
            caller=None if self.caller is None else v.number(at + self.caller, 4),
            text=b"",
        )

    def text(self, number: int) -> bytes:
        """The text of a descriptor; ``_TextLostError`` if it cannot be given."""
        v, slot = self.virtual, self.slot(number)
        begin = v.pointer(self.descs + self.desc_size * slot + self.begin)
        end = v.pointer(self.descs + self.desc_size * slot + self.next)
        if begin & end & _DATALESS:
            if begin == end == _EMPTY_LINE:
                return b""
            raise _TextLostError("texts for which the ring had no room")
        at, size = self._block(begin, end)
        try:
            if v.pointer(self.data + at) != number:
                raise _TextLostError("texts overwritten by another record's")
            length = v.number(self.infos + self.info_size * slot + self.text_len, 2)
            return v.read(self.data + at + v.word, min(length, size - v.word))
        except FaultError:
            raise _TextLostError("texts that cannot be read") from None

    def _block(self, begin: int, end: int) -> tuple[int, int]:
        """The place and the size of the block with positions ``[begin, end)``, its id included."""
        mask, last = (1 << 8 * self.virtual.word) - 1, end - 1
        laps = ((last & mask) >> self.size_bits) - (begin >> self.size_bits)
        laps &= mask >> self.size_bits
        in_ring = (1 << self.size_bits) - 1
        at = 0 if laps else begin & in_ring
        size = (last & in_ring) + 1 - at
        if laps > 1 or size <= self.virtual.word:
            raise _TextLostError("texts with impossible positions")
        return at, size


def places(virtual: Remembered, info: Vmcoreinfo) -> Iterator[tuple[int, int]]:
    """Where the ring is, as (virt, size): its head, descriptors, infos, texts."""
    ring = _Ring(virtual, info)
    yield ring.root, 1
    yield ring.descs, ring.desc_size << ring.count_bits
    yield ring.infos, ring.info_size << ring.count_bits
    yield ring.data, 1 << ring.size_bits


def read(virtual: Remembered, info: Vmcoreinfo) -> Log:
    """Every record, oldest first; they are read from the newest id back to the oldest."""
    ring, skipped = _Ring(virtual, info), Skipped()
    count = ((ring.head - ring.tail) & ring.id_mask) + 1
    if count > 1 << ring.count_bits:
        skipped.add("ids further apart than the ring is long", f"{ring.tail:#x}..{ring.head:#x}")
        count = 1 << ring.count_bits
    room = min(1 << ring.size_bits, MAX_TEXT)  # texts that do not overlap fit into the ring
    records: list[Record] = []
    nothing = 0
    for step in range(min(count, MAX_RECORDS)):
        number = (ring.head - step) & ring.id_mask
        record = _record(ring, number, skipped)
        if record is None:
            nothing += 1
            if nothing < _GIVE_UP:
                continue
            skipped.add(f"everything before {_GIVE_UP} unusable descriptors", f"id {number:#x}")
            break
        nothing = 0
        room -= len(record.text)
        if room < 0:
            skipped.add("texts longer than the ring, all records before", f"id {number:#x}")
            break
        records.append(record)
    if count > MAX_RECORDS:
        skipped.add(f"records before the newest {MAX_RECORDS}", f"id {ring.tail:#x}")
    return Log(tuple(reversed(records)), skipped.sentences())


def _record(ring: _Ring, number: int, skipped: Skipped) -> Record | None:
    where = f"id {number:#x}"
    try:
        at = ring.descs + ring.desc_size * ring.slot(number) + ring.state
        state = ring.virtual.pointer(at)
        if state & ring.id_mask != number:
            skipped.add("descriptors that belong to another id", where)
            return None
        kind = state >> 8 * ring.virtual.word - 2
        if kind == _RESERVED:
            skipped.add("records still being written", where)
        if kind not in (_COMMITTED, _FINALIZED):
            return None
        record = ring.record(number)
    except FaultError:
        skipped.add("descriptors that cannot be read", where)
        return None
    try:
        return record._replace(text=ring.text(number))
    except FaultError:
        skipped.add("descriptors that cannot be read", where)
    except _TextLostError as e:
        skipped.add(str(e), where)
    return record._replace(lost=True)


def _bits(virtual: Remembered, at: int) -> int:
    bits = virtual.number(at, 4)
    if bits > _MAX_BITS:
        raise FormatError(f"a log ring of 2^{bits} is too large: no kernel has it", at)
    return bits


def _offset(info: Vmcoreinfo, key: str) -> int:
    return info.need(f"OFFSET({key})")


def _size(info: Vmcoreinfo, key: str) -> int:
    return info.need(f"SIZE({key})")
