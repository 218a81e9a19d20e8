"""The options: one ``-o`` list, read once, with every mistake named."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from .errors import UsageError
from .ranges import Range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MACHINES = ("pc", "q35", "microvm", "virt", "riscv-virt")
# What fstab and mount(8) may add. The mount is ro,nodev,nosuid,noexec whatever they say.
_MOUNT_WORDS = frozenset(
    {"rw", "ro", "dev", "nodev", "suid", "nosuid", "exec", "noexec", "auto", "noauto", "user",
     "users", "nouser", "owner", "group", "defaults", "_netdev", "nofail", "atime", "noatime",
     "relatime", "norelatime", "strictatime", "diratime", "nodiratime", "sync", "async", "silent",
     "loud", "default_permissions"}
)  # fmt: skip


class Bind(NamedTuple):
    """The view of this name is also mounted over ``target``."""

    view: str
    target: str = "/proc/vmcore"


class Piece(NamedTuple):
    """``phys`` of the machine is at ``offset`` of its image."""

    phys: Range
    offset: int


@dataclass(frozen=True, slots=True)
class Options:
    """Everything that -o can say."""

    source: str | None = None  # the member of ``sources`` to use, instead of probing
    elfcorehdr: int | str | None = None  # an address in memory, or a file
    ram: tuple[Piece, ...] = ()
    machine: str | None = None  # one of MACHINES
    arch: str | None = None  # the architecture that the header must be for, or "any"
    page_size: int | None = None
    note_align: int | None = None
    packed: bool | None = None
    skip_notes: bool = False
    dump_level: int = 31  # makedumpfile's -d
    strict: bool = False
    bind: Bind | None = None
    cache: str | None = None  # "none", "pages"; by measurement when not given
    reads: str | None = None  # "c", "python"; by privilege when not given
    allow: frozenset[str] = field(default_factory=frozenset)  # allow_other, allow_root


def number(text: str) -> int:
    """A number, decimal or 0x hex, with K, M, G or T behind it."""
    match = re.fullmatch(r"(0[xX][0-9a-fA-F]+|[0-9]+)([kKmMgGtT]?)", text)
    if not match:
        raise UsageError(f"{text!r} is not a number")
    shift = " KMGT".index(match[2].upper() or " ") * 10
    value = int(match[1], 0 if match[1][:2] in ("0x", "0X") else 10) << shift
    if value >= 1 << 64:
        raise UsageError(f"{text!r} does not fit in 64 bits")
    return value


def _choice(name: str, *words: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value not in words:
            raise UsageError(f"-o {name}={value}: give one of {', '.join(words)}")
        return value

    return check


def _elfcorehdr(value: str) -> int | str:
    try:
        return number(value)
    except UsageError:
        if not value or value[0] in "0123456789":
            raise UsageError(
                f"-o elfcorehdr={value}: give an address (0x hex) or a file's path"
            ) from None
        return value


def _number_or_0(value: str) -> int:
    """A number; 0 for what is none, which the caller refuses in words of its own."""
    try:
        return number(value)
    except UsageError:
        return 0


def _page_size(value: str) -> int:
    size = _number_or_0(value)
    if size & (size - 1) or not 1 << 10 <= size <= 1 << 20:
        raise UsageError(f"-o page_size={value}: give a power of two from 1K to 1M")
    return size


def _dump_level(value: str) -> int:
    level = int(value) if re.fullmatch(r"[0-9]{1,2}", value) else 32
    if level > 31:
        raise UsageError(f"-o dump_level={value}: give 0 to 31, a sum of 1, 2, 4, 8 and 16")
    return level


def _note_align(value: str) -> int:
    return int(_choice("note_align", "0", "4")(value))


def _ram(value: str) -> tuple[Piece, ...]:
    """``START-END@OFFSET[:START-END@OFFSET...]``, hex, half-open."""
    pieces = []
    for part in value.split(":"):
        match = re.fullmatch(
            r"(?:0x)?([0-9a-f]{1,16})-(?:0x)?([0-9a-f]{1,16})@(?:0x)?([0-9a-f]{1,16})", part.lower()
        )
        if not match:
            raise UsageError(f"-o ram={part}: give START-END@OFFSET in hex, END not included")
        start, end, offset = (int(g, 16) for g in match.groups())
        if start >= end:
            raise UsageError(f"-o ram={part}: START is not below END")
        pieces.append(Piece(Range(start, end), offset))
    return tuple(pieces)


def _bind(value: str) -> Bind:
    view, colon, target = value.partition(":")
    if not view or (colon and not target):
        raise UsageError(f"-o bind={value}: give VIEW or VIEW:FILE")
    return Bind(view, os.path.realpath(target)) if colon else Bind(view)


_VALUES: dict[str, Callable[[str], object]] = {
    "source": _choice("source", "devmem", "elf", "raw"),
    "elfcorehdr": _elfcorehdr,
    "machine": _choice("machine", *MACHINES),
    "arch": str,
    "page_size": _page_size,
    "note_align": _note_align,
    "bind": _bind,
    "dump_level": _dump_level,
    "cache": _choice("cache", "none", "pages"),
    "reads": _choice("reads", "c", "python"),
}


def parse(lists: Iterable[str]) -> Options:
    """Options from the words of all -o lists; later words win, ``ram=`` adds up.

    Raises ``UsageError`` for a word that is neither ours nor mount's.
    """
    options = Options()
    for word in (w for text in lists for w in text.split(",") if w):
        key, equals, value = word.partition("=")
        if key == "ram" and equals:
            options = replace(options, ram=options.ram + _ram(value))
        elif key == "layout" and equals:
            packed = _choice("layout", "paged", "packed")(value) == "packed"
            options = replace(options, packed=packed)
        elif key == "notes" and equals:
            _choice("notes", "skip")(value)
            options = replace(options, skip_notes=True)
        elif key in _VALUES and equals:
            options = replace(options, **{key: _VALUES[key](value)})  # type: ignore[arg-type]
        elif key in _VALUES or key in ("ram", "layout", "notes"):
            raise UsageError(f"-o {word}: needs a value: {key}=...; oldmemfs --help shows which")
        elif equals and key in ("strict", "allow_other", "allow_root"):
            raise UsageError(f"-o {word}: takes no value: write -o {key}, or leave it out")
        elif word == "strict":
            options = replace(options, strict=True)
        elif word in ("allow_other", "allow_root"):
            options = replace(options, allow=options.allow | {word})
        elif word not in _MOUNT_WORDS and not key.startswith(("x-", "comment")):
            known = ", ".join(sorted([*_VALUES, "allow_other", "layout", "notes", "ram", "strict"]))
            raise UsageError(f"-o {word}: not an option; there are {known}")
    if options.ram and options.machine:
        raise UsageError("-o ram= and -o machine= both say where memory lies: give one")
    return options
