r"""A log as text, as kexec-tools' vmcore-dmesg prints it, and as one JSON object a line.

Text: the time in front of each record, newlines of its own kept without indent, and every byte
that is neither printable ASCII nor white space as ``\xNN``; a text ring's lines as they stand.
JSON: ``time`` is seconds with nine decimals; ``text`` is UTF-8 where the bytes are; else it has
``\xNN`` for what is not, and ``text_hex`` has all bytes. What was skipped ends both.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .record import Log, Record

_UNPRINTABLE = re.compile(rb"[^ -~\t-\r]")
_NO_LINE = re.compile(rb"[^ -~\t]")


def as_text(log: Log) -> bytes:
    """The log for people."""
    lines = [_text(record) for record in log.records]
    lines += [f"-- oldmemfs skipped {sentence}".encode() for sentence in log.skipped]
    return b"".join(line + b"\n" for line in lines)


def as_json(log: Log) -> bytes:
    """The log for programs: one object a record, then one ``{"skipped": ...}`` a sentence."""
    lines = [_line(record) for record in log.records]
    lines += [json.dumps({"skipped": sentence}) for sentence in log.skipped]
    return "".join(line + "\n" for line in lines).encode()


def _line(record: Record) -> str:
    """A record; its time is written by hand, since a float would not hold the nanoseconds."""
    time = "null"
    if record.ts_nsec is not None:
        time = f"{record.ts_nsec // 10**9}.{record.ts_nsec % 10**9:09d}"
    rest = json.dumps(_object(record), ensure_ascii=False)
    return f'{{"seq": {record.seq}, "time": {time}, {rest[1:]}'


def _text(record: Record) -> bytes:
    if record.lead is not None:
        return record.lead + record.text
    seconds, rest = divmod(record.ts_nsec or 0, 10**9)
    return b"[%5d.%06d] " % (seconds, rest // 1000) + _escaped(record.text)


def _escaped(text: bytes) -> bytes:
    """What a terminal may see of ``text``."""
    return _UNPRINTABLE.sub(_as_hex, text)


def one_line(text: str) -> str:
    """What may stand on a line of a terminal; unlike in a log, no white space moves the cursor."""
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
