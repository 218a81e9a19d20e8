# SPDX-License-Identifier: MIT
"""The log rings of three generations, written as the kernel writes them, for any machine.

Each builder plays the kernel's allocator, overwriting what is oldest, so what it says still
stands is what a reader must find.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oldmemfs.kernel.printk import Record
from oldmemfs.ranges import round_up
from support.space import vmcoreinfo

if TYPE_CHECKING:
    from oldmemfs.kernel.vmcoreinfo import Vmcoreinfo
    from support.space import Space

ROOT = 0xC0100000  # where the builders place things, within reach of 32 bits
DESCS, INFOS, DATA = ROOT + 0x10000, ROOT + 0x100000, ROOT + 0x400000
FINALIZED, REUSABLE = 2, 3
FAILED, EMPTY = 1, 3  # positions of texts that are not in the ring


@dataclass(frozen=True)
class Message:
    """What the kernel is asked to print. ``failed``: the ring had no room for its text."""

    text: bytes
    ts_nsec: int = 0
    level: int = 6
    facility: int = 0
    caller: int = 0
    failed: bool = False


SOME = [
    Message(b"Linux version 6.1", 0, 5, 0, 0),
    Message(b"two\nlines, and a tab\t", 1_234_567_890, 3, 0, 1 << 31 | 2),
    Message(b"not utf-8: \xff\xfe\x80 \x00\x1b[0m", 1_999_999_999, 2, 1, 77),
    Message(b"", 2_000_000_000, 6, 0, 1),
    Message("caf\u00e9 \u2713".encode(), 99_999_000_000_123, 7, 23, 4_000_000),
]


def many(count: int) -> list[Message]:
    """Messages of all lengths."""
    return [
        Message(b"%d " % i + b"x" * (i * 37 % 200), i * 1_000_000_007, i % 8, i % 24, i * 7)
        for i in range(count)
    ]


def expected(m: Message, seq: int, *, caller: bool = True) -> Record:
    """What a message is read as."""
    return Record(seq, m.ts_nsec, m.level, m.facility, m.caller if caller else None, m.text)


def lockless(
    space: Space,
    messages: list[Message],
    *,
    size_bits: int = 12,
    count_bits: int = 6,
    first_id: int = 0,
    end_rule: bool = True,
    root: int = ROOT,
) -> tuple[Vmcoreinfo, list[Message]]:
    """A ring of 5.10 and later, at ``root``.

    ``end_rule``: since 6.19 a block of text may end exactly where the ring does.
    """
    descs, infos, data = (root + at - ROOT for at in (DESCS, INFOS, DATA))
    w, size, count = space.word, 1 << size_bits, 1 << count_bits
    mask, id_mask = (1 << 8 * w) - 1, (1 << 8 * w - 2) - 1
    space.regions |= {
        root: bytearray(0x1000),
        descs: bytearray(3 * w * count),
        infos: bytearray(88 * count),
        data: bytearray(size),
    }
    position = tail = -size & mask  # as the kernel starts: one lap before 0
    standing: deque[tuple[int, int, Message]] = deque()

    def state(number: int, kind: int) -> None:
        space.put(descs + 3 * w * (number % count), "P", kind << 8 * w - 2 | number)

    def evict() -> int:
        number, end, _ = standing.popleft()
        state(number, REUSABLE)
        return tail if end in (FAILED, EMPTY) else end

    state(first_id, REUSABLE)
    for seq, m in enumerate(messages):
        number = (first_id + 1 + seq) & id_mask
        begin = end = FAILED if m.failed else EMPTY
        if m.text and not m.failed:
            begin, block = position, round_up(w + len(m.text), w)
            end = begin + block
            if begin // size != (end - end_rule) // size:  # not whole in this lap
                end = (begin // size + 1) * size + block
            end &= mask
            while (end - tail) & mask > size:
                tail = evict()
            position = end
            at = data + (begin % size if begin // size == (end - 1 & mask) // size else 0)
            space.put(at, "P", number)
            space.write(at + w, m.text)
        if len(standing) >= count - 1:
            tail = evict()
        standing.append((number, end, m))
        slot = number % count
        space.put(descs + 3 * w * slot + w, "P", begin)
        space.put(descs + 3 * w * slot + 2 * w, "P", end)
        info = infos + 88 * slot
        for at, letter, value in (
            (0, "Q", seq), (8, "Q", m.ts_nsec), (16, "H", len(m.text)), (18, "B", m.facility),
            (19, "B", space.level(m.level)), (20, "I", m.caller),
        ):  # fmt: skip
            space.put(info + at, letter, value)
        state(number, FINALIZED)
    newest = standing[-1][0] if standing else first_id
    oldest = standing[0][0] if standing else first_id
    rb = root + 0x100
    for at, letter, value in (
        (root, "P", rb), (rb, "I", count_bits), (rb + w, "P", descs), (rb + 2 * w, "P", infos),
        (rb + 3 * w, "P", newest), (rb + 4 * w, "P", oldest),
        (rb + 6 * w, "I", size_bits), (rb + 7 * w, "P", data), (rb + 8 * w, "P", position),
        (rb + 9 * w, "P", tail),
    ):  # fmt: skip
        space.put(at, letter, value)
    keys = vmcoreinfo(
        SYMBOL={"prb": root, "printk_rb_static": rb, "clear_seq": root + 0x800},
        SIZE={
            "printk_ringbuffer": 11 * w, "prb_desc_ring": 6 * w, "prb_desc": 3 * w,
            "prb_data_blk_lpos": 2 * w, "printk_info": 88, "dev_printk_info": 64,
            "prb_data_ring": 4 * w, "atomic_long_t": w, "latched_seq": 24,
        },
        OFFSET={
            "printk_ringbuffer.desc_ring": 0, "printk_ringbuffer.text_data_ring": 6 * w,
            "printk_ringbuffer.fail": 10 * w, "prb_desc_ring.count_bits": 0,
            "prb_desc_ring.descs": w, "prb_desc_ring.infos": 2 * w, "prb_desc_ring.head_id": 3 * w,
            "prb_desc_ring.tail_id": 4 * w, "prb_desc.state_var": 0,
            "prb_desc.text_blk_lpos": w, "prb_data_blk_lpos.begin": 0, "prb_data_blk_lpos.next": w,
            "printk_info.seq": 0, "printk_info.ts_nsec": 8, "printk_info.text_len": 16,
            "printk_info.caller_id": 20, "printk_info.dev_info": 24,
            "dev_printk_info.subsystem": 0, "dev_printk_info.device": 16,
            "prb_data_ring.size_bits": 0, "prb_data_ring.data": w, "prb_data_ring.head_lpos": 2 * w,
            "prb_data_ring.tail_lpos": 3 * w, "atomic_long_t.counter": 0, "latched_seq.val": 8,
        },
        LENGTH={"printk_info_subsystem": 16, "printk_info_device": 48},
    )  # fmt: skip
    return keys, [m for _, _, m in standing]


def buffer(
    space: Space,
    messages: list[Message],
    *,
    size: int = 0x1000,
    name: str = "printk_log",
    callers: bool = False,
    align: int = 4,
) -> tuple[Vmcoreinfo, list[tuple[int, Message]]]:
    """A buffer of 3.5 .. 5.9, and where in it each record stands."""
    space.regions |= {ROOT: bytearray(0x1000), DATA: bytearray(size)}
    header = round_up(20 if callers else 16, align)
    standing: deque[tuple[int, int, Message]] = deque()
    index = 0
    for m in messages:
        dictionary = b"SUBSYSTEM=test\0" if m.level == 3 else b""
        used = round_up(header + len(m.text) + len(dictionary), align)
        first = standing[0][0] if standing else index
        while (
            standing
            and not (max(size - index, first) if index > first else first - index) >= used + header
        ):
            standing.popleft()
            first = standing[0][0] if standing else index
        if index + used + header > size:
            space.write(DATA + index, bytes(header))
            index = 0
        at = DATA + index
        space.write(at, bytes(used))
        for place, letter, value in (
            (0, "Q", m.ts_nsec), (8, "H", used), (10, "H", len(m.text)), (12, "H", len(dictionary)),
            (14, "B", m.facility), (15, "B", space.level(m.level)),
        ):  # fmt: skip
            space.put(at + place, letter, value)
        if callers:
            space.put(at + 16, "I", m.caller)
        space.write(at + header, m.text + dictionary)
        standing.append((index, used, m))
        index += used
    for place, letter, value in (
        (0, "P", DATA), (16, "I", size), (20, "I", standing[0][0] if standing else index),
        (24, "I", index), (28, "I", 0),
    ):  # fmt: skip
        space.put(ROOT + place, letter, value)
    offsets = {"ts_nsec": 0, "len": 8, "text_len": 10, "dict_len": 12}
    offsets |= {"caller_id": 16} if callers else {}
    info = vmcoreinfo(
        SYMBOL={
            "log_buf": ROOT, "log_buf_len": ROOT + 16, "log_first_idx": ROOT + 20,
            "log_next_idx": ROOT + 24, "clear_idx": ROOT + 28,
        },
        SIZE={name: header},
        OFFSET={f"{name}.{member}": at for member, at in offsets.items()},
    )  # fmt: skip
    return info, [(index, m) for index, _, m in standing]


def lines(space: Space, text: bytes, *, size: int = 0x1000) -> tuple[Vmcoreinfo, bytes]:
    """A text ring of before 3.5, and the text that still stands in it."""
    space.regions |= {ROOT: bytearray(0x1000), DATA: bytearray(size)}
    for at, byte in enumerate(text):
        space.write(DATA + at % size, bytes((byte,)))
    standing = text[-size:]
    for place, letter, value in (
        (0, "P", DATA), (16, "I", len(text)), (20, "I", size), (24, "I", len(standing)),
    ):  # fmt: skip
        space.put(ROOT + place, letter, value)
    return vmcoreinfo(
        SYMBOL={
            "log_buf": ROOT, "log_end": ROOT + 16, "log_buf_len": ROOT + 20,
            "logged_chars": ROOT + 24,
        }
    ), standing  # fmt: skip
