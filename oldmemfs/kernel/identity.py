# SPDX-License-Identifier: MIT
"""Which machine crashed: the kernel's version line, its command line, the host name, the hardware.

Each is read from memory if VMCOREINFO or the symbol table gives its address, else from the log. A
piece that is not found is None, never an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import OldmemError
from .printk import one_line
from .signs import Lines
from .virtual import Remembered

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .printk import Log
    from .virtual import Virtual
    from .vmcoreinfo import Vmcoreinfo

BANNER, COMMAND_LINE, HARDWARE = "linux_banner", "saved_command_line", "dump_stack_arch_desc_str"
SYMBOLS = (BANNER, COMMAND_LINE, HARDWARE)
_FIELD = 65  # new_utsname: sysname, nodename, release, version, machine, domainname
_STEP = 256  # bytes read at a time of a text whose length is not known
_MOST = 1 << 15  # bytes of a text; a command line with a boot configuration can be that long
_BANNER_WORDS = b"Linux version "
_IN_LOG = {  # the words that lead to a piece; the last of them that the log has is taken
    BANNER: (_BANNER_WORDS,),
    COMMAND_LINE: (b"Command line: ", b"Kernel command line: "),
    HARDWARE: (b"Machine model: ", b"DMI: ", b"Hardware name: "),
}


@dataclass(frozen=True, slots=True)
class Identity:
    """What is known of the machine, in printable ASCII; None: not found."""

    version: str | None = None  # the whole line, as in /proc/version
    hostname: str | None = None
    command_line: str | None = None
    hardware: str | None = None
    uptime: float | None = None  # seconds: the time of the last lines of the log


def identify(
    kernel: Virtual | None, info: Vmcoreinfo, symbols: Mapping[str, int], log: Log | None
) -> Identity:
    """Everything that is found; ``symbols`` are the addresses of ``SYMBOLS``, as far as known."""
    names = _utsname(kernel, info) if kernel else ()
    lines = Lines(log) if log else None
    banner = _text(kernel, symbols.get(BANNER)) or b""
    line = _pointer(kernel, symbols.get(COMMAND_LINE))
    version = banner if banner.startswith(_BANNER_WORDS) else _logged(lines, BANNER)
    if version is None and names:
        version = _BANNER_WORDS + names[2] + b" " + names[3]
    return Identity(
        version=_shown(version),
        hostname=_shown(names[1]) if names else None,
        command_line=_shown(_text(kernel, line) or _logged(lines, COMMAND_LINE)),
        hardware=_shown(_text(kernel, symbols.get(HARDWARE)) or _logged(lines, HARDWARE)),
        uptime=_uptime(log) if log else None,
    )


def _utsname(kernel: Virtual, info: Vmcoreinfo) -> tuple[bytes, ...]:
    """The six fields of init_uts_ns.name, or nothing if the release there is not VMCOREINFO's.

    Kernels whose VMCOREINFO has no OFFSET(uts_namespace.name) have it at 4, after a reference
    count, or at 0.
    """
    symbol = info.symbol("init_uts_ns")
    known = info.offset("uts_namespace.name")
    release = (info.release or "").encode("ascii", "replace")
    for offset in () if symbol is None else (4, 0) if known is None else (known,):
        try:
            data = kernel.read((symbol or 0) + offset, 6 * _FIELD)
        except OldmemError:
            continue
        fields = tuple(
            data[at : at + _FIELD].split(b"\0", 1)[0] for at in range(0, len(data), _FIELD)
        )
        if release and fields[2] == release:
            return fields
    return ()


def _pointer(kernel: Virtual | None, virt: int | None) -> int | None:
    """The pointer stored at ``virt``; None if it cannot be read."""
    try:
        return Remembered(kernel).pointer(virt) if kernel and virt is not None else None
    except OldmemError:
        return None


def _text(kernel: Virtual | None, virt: int | None) -> bytes | None:
    """The text at ``virt``, up to its NUL or to the first byte that cannot be read."""
    if kernel is None or virt is None:
        return None
    found = b""
    while b"\0" not in found and len(found) < _MOST:
        try:
            found += kernel.read(virt + len(found), _STEP - (virt + len(found)) % _STEP)
        except OldmemError:
            break
    return found.split(b"\0", 1)[0].strip() or None


def _logged(lines: Lines | None, piece: str) -> bytes | None:
    """The text that the log gives for a piece; None if it has none."""
    found: dict[bytes, bytes] = {}
    for at in range(len(lines) if lines else 0):
        assert lines is not None
        for words in _IN_LOG[piece]:
            if lines[at].startswith(words):
                found.setdefault(words, lines.record(at).text[:_MOST])
    for words in reversed(_IN_LOG[piece]):
        if words in found:
            text = found[words].split(b"\n", 1)[0].strip()
            return text if words == _BANNER_WORDS else text[len(words) :].strip()
    return None


def _uptime(log: Log) -> float | None:
    """The latest time of the last 64 lines: lines of several CPUs are not strictly in order."""
    stamps = [r.ts_nsec for r in log.records[-64:] if r.ts_nsec is not None]
    return max(stamps) / 10**9 if stamps else None


def _shown(text: bytes | None) -> str | None:
    return one_line(text.decode(errors="surrogateescape")) if text else None
