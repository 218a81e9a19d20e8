# SPDX-License-Identifier: MIT
r"""A log as text, as kexec-tools' vmcore-dmesg prints it, and as one JSON object per line.

Text: each record follows its time; newlines inside a record are kept, without indent; every byte
that is neither printable ASCII nor white space becomes ``\xNN``. The lines of a text ring (before
3.5) are not changed.

JSON: ``time`` is seconds with nine decimals. If the record's bytes are UTF-8, ``text`` is the text
with ``\uNNNN`` for characters that are not printable (control characters, marks that change the
direction of text). If not, ``text`` has ``\xNN`` for the bytes that are not UTF-8, and ``text_hex``
has all bytes.

Both end with what was skipped. Of more than ``MAX_SHOWN`` bytes the newest records are given.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .record import Log, Record

_UNPRINTABLE = re.compile(rb"[^ -~\t-\r]")
_SHOWN = [bytes((n,)) if 32 <= n < 127 or 9 <= n < 14 else b"\\x%02x" % n for n in range(256)]
MAX_SHOWN = 3 << 24  # bytes of one file; escapes can make a text 7 times as long
_NO_LINE = re.compile(rb"[^ -~\t]")


def as_text(log: Log) -> bytes:
    """The log for people."""
    lines, skipped = _newest(log, _text)
    lines += [f"-- oldmemfs skipped {sentence}".encode() for sentence in skipped]
    lines.append(b"")
    return b"\n".join(lines)


def as_json(log: Log) -> bytes:
    """The log for programs: an object per record, then a ``{"skipped": ...}`` per sentence."""
    lines, skipped = _newest(log, _line)
    lines += [json.dumps({"skipped": sentence}).encode() for sentence in skipped]
    lines.append(b"")
    return b"\n".join(lines)


def _newest(log: Log, shown: Callable[[Record], bytes]) -> tuple[list[bytes], tuple[str, ...]]:
    """The lines of the newest records, oldest first, and a sentence for each thing skipped."""
    lines: list[bytes] = []
    room = MAX_SHOWN
    for record in reversed(log.records):
        line = shown(record)
        room -= len(line) + 1
        if room < 0:
            cut = f"records before the last {MAX_SHOWN:#x} bytes: {len(log.records) - len(lines)}"
            return lines[::-1], (*log.skipped, cut)
        lines.append(line)
    return lines[::-1], log.skipped


def _line(record: Record) -> bytes:
    """A record as JSON; its time is formatted here because a float cannot hold nanoseconds."""
    time = "null"
    if record.ts_nsec is not None:
        time = f"{record.ts_nsec // 10**9}.{record.ts_nsec % 10**9:09d}"
    rest = json.dumps(_object(record), ensure_ascii=False)
    if not rest.isprintable():
        rest = "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in rest)
    return f'{{"seq": {record.seq}, "time": {time}, {rest[1:]}'.encode()


def _text(record: Record) -> bytes:
    if record.lead is not None:
        return record.lead + record.text
    seconds, rest = divmod(record.ts_nsec or 0, 10**9)
    return b"[%5d.%06d] " % (seconds, rest // 1000) + _escaped(record.text)


def _escaped(text: bytes) -> bytes:
    """``text`` without terminal control bytes; a table is 10 times faster than a regex."""
    return b"".join(map(_SHOWN.__getitem__, text)) if _UNPRINTABLE.search(text) else text


def one_line(text: str) -> str:
    """``text`` for one line of a terminal: every character but printable ASCII and tab as hex."""
    return _NO_LINE.sub(_as_hex, text.encode(errors="surrogateescape")).decode("ascii")


def _as_hex(match: re.Match[bytes]) -> bytes:
    return b"\\x%02x" % match.group()[0]


def _object(record: Record) -> dict[str, object]:
    fields: dict[str, object] = {
        "level": record.level,
        "facility": record.facility,
        "caller": record.caller_name,
    }
    if record.lost:
        return fields | {"text": None}
    try:
        return fields | {"text": record.text.decode()}
    except UnicodeDecodeError:
        text = record.text.decode(errors="backslashreplace")
        return fields | {"text": text, "text_hex": record.text.hex()}
