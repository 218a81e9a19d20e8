# SPDX-License-Identifier: MIT
"""The options of ``-o``: the one table of them, which parser, --help and man page use."""

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
# Options of fstab and mount(8), which are accepted and ignored. The mount is always
# ro,nodev,nosuid,noexec.
_MOUNT_WORDS = frozenset(
    {"rw", "ro", "dev", "nodev", "suid", "nosuid", "exec", "noexec", "auto", "noauto", "user",
     "users", "nouser", "owner", "group", "defaults", "_netdev", "nofail", "atime", "noatime",
     "relatime", "norelatime", "strictatime", "diratime", "nodiratime", "sync", "async", "silent",
     "loud", "default_permissions"}
)  # fmt: skip


class Bind(NamedTuple):
    """-o bind=: the file of ``view`` is also bind-mounted over the file ``target``."""

    view: str
    target: str = "/proc/vmcore"


class Piece(NamedTuple):
    """-o ram=: the physical addresses ``phys`` are at the file offset ``offset`` of the image."""

    phys: Range
    offset: int


@dataclass(frozen=True, slots=True)
class Options:
    """The values of all options; None where the option was not given."""

    source: str | None = None  # the ``NAME`` of the member of ``sources`` to use
    elfcorehdr: int | str | None = None  # a physical address, or the path of a file
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
    cache: str | None = None  # "none" or "pages"; if not given, "none"
    reads: str | None = None  # "c" or "python"; if not given, "c" for root
    allow: frozenset[str] = field(default_factory=frozenset)  # allow_other, allow_root


def number(text: str) -> int:
    """The value of a decimal or 0x hex number, which may have the suffix K, M, G or T.

    Raises ``UsageError`` if it is malformed or does not fit in 64 bits.
    """
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
    """A number, or 0 if it is malformed: the caller refuses 0 with a better message."""
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


def _packed(value: str) -> bool:
    return _choice("layout", "paged", "packed")(value) == "packed"


def _skip(value: str) -> bool:
    return _choice("notes", "skip")(value) == "skip"


class Word(NamedTuple):
    """An option of ``-o``, for ``parse``, --help and the man page.

    In ``says`` and ``more``, text between asterisks is emphasised in the man page.
    """

    name: str
    takes: str  # the form of its value, as --help shows it; empty if it takes none
    says: str  # the explanation in --help and in the man page
    read: Callable[[str], object]  # converts the value; raises ``UsageError``
    field: str = ""  # the field of ``Options``, if its name is not ``name``
    more: str = ""  # more text, in the man page only


WORDS = (
    Word("source", "devmem|elf|raw", "the kind of source, instead of trying each",
         _choice("source", "devmem", "elf", "raw")),
    Word("elfcorehdr", "ADDRESS|FILE",
         "the crash's ELF header: its address in memory (decimal or 0x, K M G), or a file",
         _elfcorehdr),
    Word("ram", "START-END@OFFSET[:...]",
         "image: physical START to END (hex, END not included) is at file offset OFFSET", _ram),
    Word("machine", "|".join(MACHINES), "image: it is of this QEMU machine",
         _choice("machine", *MACHINES)),
    Word("page_size", "N", "image: the capture kernel's page size", _page_size,
         more="Taken from VMCOREINFO if it is not given."),
    Word("note_align", "0|4", "image: p_align of the PT_NOTE of *vmcore*", _note_align,
         more="Kernels since 6.5 write 4."),
    Word("layout", "paged|packed", "image: packed is *vmcore* as kernels before 3.11 make it",
         _packed, "packed"),
    Word("arch", "NAME|any", "refuse a header for another machine than NAME, or take any", str),
    Word("notes", "skip", "continue without ELF notes that cannot be read", _skip, "skip_notes"),
    Word("dump_level", "N", "what *vmcore-kern* leaves out, as makedumpfile -d (31)", _dump_level,
         more="A sum of 1 (zero pages), 2 and 4 (cache), 8 (user pages), 16 (free pages)."),
    Word("strict", "", "EIO for what cannot be read, instead of zeros and a line in *badpages*",
         bool),
    Word("bind", "VIEW[:FILE]", "mount that view over */proc/vmcore* (or FILE) as well", _bind,
         more="So a distribution's own scripts save it. It ends when the mount point is unmounted."
              " The program reports that it is ready only after this mount was made."),
    Word("cache", "none|pages", "bypass the page cache (none) or use it (pages)",
         _choice("cache", "none", "pages")),
    Word("reads", "c|python", "answer reads in C threads (default of root) or in Python",
         _choice("reads", "c", "python"),
         more="Users other than root always get Python: they mount through fusermount3."),
    Word("allow_other", "", "let other users access the mount (files stay 0400)", bool),
    Word("allow_root", "", "let root access the mount, if another user mounts", bool),
)  # fmt: skip
_BY_NAME = {word.name: word for word in WORDS}


def parse(lists: Iterable[str]) -> Options:
    """The options in ``lists``, the comma-separated values of all -o.

    If an option is given several times, the last one counts; the pieces of several ``ram=`` are
    added. Raises ``UsageError`` for an unknown option or a bad value.
    """
    options = Options()
    for text in (w for one in lists for w in one.split(",") if w):
        key, equals, value = text.partition("=")
        word = _BY_NAME.get(key)
        if word is None:
            if text not in _MOUNT_WORDS and not key.startswith(("x-", "comment")):
                known = ", ".join(sorted(_BY_NAME))
                raise UsageError(f"-o {text}: not an option; there are {known}")
        elif word.takes and not equals:
            raise UsageError(f"-o {text}: needs a value: {key}=...; oldmemfs --help shows which")
        elif equals and not word.takes:
            raise UsageError(f"-o {text}: takes no value: write -o {key}, or leave it out")
        elif key in ("allow_other", "allow_root"):
            options = replace(options, allow=options.allow | {key})
        elif key == "ram":
            options = replace(options, ram=options.ram + _ram(value))
        else:
            known_as, meant = word.field or key, word.read(value) if word.takes else True
            options = replace(options, **{known_as: meant})  # type: ignore[arg-type]
    if options.ram and options.machine:
        raise UsageError("-o ram= and -o machine= both say where memory is: give one of them")
    return options
