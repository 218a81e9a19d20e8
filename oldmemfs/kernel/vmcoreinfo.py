# SPDX-License-Identifier: MIT
"""VMCOREINFO: the text that gives a dump reader the kernel's symbols, sizes and offsets.

Parsing never fails: lines of an unknown form are ignored, and the first of two equal keys counts.
Forms (kernel/vmcore_info.c; kernel/crash_core.c before 6.9, kernel/kexec_core.c before 4.13)::

    OSRELEASE=6.1.0-56-cloud-amd64      PAGESIZE=4096          CRASHTIME=1795220275
    SYMBOL(init_uts_ns)=ffffffff9cdf9b60                       KERNELOFFSET=1a200000
    OFFSET(page.flags)=0                SIZE(page)=64          LENGTH(zone.free_area)=11
    NUMBER(phys_base)=-6291456          NUMBER(PHYS_OFFSET)=0x40000000
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_TEXT = 1 << 20  # bytes that are parsed; a kernel's text has at most a page, 64 KiB
PAGE_SIZES = tuple(1 << shift for shift in range(12, 17))  # of the kernels that are understood
_DECIMAL = re.compile(r"-?[0-9]{1,20}", re.ASCII)
_HEX = re.compile(r"(?:0[xX])?[0-9a-fA-F]{1,16}", re.ASCII)
_VERSION = re.compile(r"(\d{1,9})(?:\.(\d{1,9}))?(?:\.(\d{1,9}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Vmcoreinfo:
    """The text and its ``key=value`` lines."""

    text: bytes
    values: Mapping[str, str]

    @classmethod
    def parse(cls, text: bytes) -> Vmcoreinfo:
        """Parse ``text``; bytes after the first NUL are padding."""
        text = text[:MAX_TEXT].split(b"\0", 1)[0]
        values: dict[str, str] = {}
        for line in text.split(b"\n"):
            key, equals, value = line.decode("ascii", "replace").partition("=")
            if equals:
                values.setdefault(key, value)
        return cls(text, values)

    @property
    def release(self) -> str | None:
        """The kernel's ``uname -r``."""
        return self.values.get("OSRELEASE")

    @property
    def version(self) -> tuple[int, int, int]:
        """The first three integers of the release; zeros where there are none."""
        return parse_version(self.release or "")

    @property
    def page_size(self) -> int | None:
        """Bytes in a page, a power of two from 4 KiB to 256 KiB; None if missing or wrong."""
        size = _number(self.values.get("PAGESIZE")) or 0
        return size if size in (1 << shift for shift in range(12, 19)) else None

    @property
    def build_id(self) -> str | None:
        """The build-id of vmlinux (5.9 and later)."""
        return self.values.get("BUILD-ID")

    @property
    def crash_time(self) -> int | None:
        """CRASHTIME, seconds since 1970; None in the note of a kernel that has not crashed."""
        return _number(self.values.get("CRASHTIME"))

    @property
    def kernel_offset(self) -> int | None:
        """KERNELOFFSET: by how many bytes KASLR moved the kernel's virtual addresses."""
        return self.hex("KERNELOFFSET")

    def hex(self, key: str) -> int | None:
        """The value of a plain key whose number is hexadecimal without 0x."""
        return _hex(self.values.get(key))

    def symbol(self, name: str) -> int | None:
        """The address of ``name``; None if it is missing or 0."""
        return self._value(f"SYMBOL({name})")

    def offset(self, name: str) -> int | None:
        """The offset of ``struct.member``."""
        return self._value(f"OFFSET({name})")

    def size_of(self, name: str) -> int | None:
        """The size of a structure."""
        return self._value(f"SIZE({name})")

    def length(self, name: str) -> int | None:
        """How many elements an array has."""
        return self._value(f"LENGTH({name})")

    def number(self, name: str) -> int | None:
        """A number that the kernel states: decimal, negative, or hexadecimal."""
        return self._value(f"NUMBER({name})")

    def need(self, *keys: str, among: Sequence[int] | None = None) -> int:
        """The value of the first of ``keys`` that has one, and one of ``among`` if that is given.

        A key is written as its line has it: ``SIZE(page)``, ``SYMBOL(prb)``, ``PAGESIZE``.

        Raises the ``FormatError`` of ``missing`` when no key has such a value.
        """
        for key in keys:
            value = self._value(key)
            if value is not None and (among is None or value in among):
                return value
        raise self.missing(*keys, among=among)

    def missing(self, *keys: str, among: Sequence[int] | None = None) -> FormatError:
        """The error for ``keys`` of which none has a value, or one that is in ``among``.

        It names the first key whose value cannot be used, and its value; if there is no such key,
        all keys.
        """
        if not self.text:
            return FormatError("there is no VMCOREINFO in the dump's notes: the kernel's memory is "
                               "not understood")  # fmt: skip
        for key in keys:
            if (said := self.values.get(key)) is not None:
                accepted = f" (accepted: {among[0]} to {among[-1]})" if among else ""
                return FormatError(
                    f"VMCOREINFO says {key}={said[:40]}, which no kernel has{accepted}"
                )
        none = f"no {keys[0]}" if len(keys) == 1 else f"none of {', '.join(keys)}"
        return FormatError(f"VMCOREINFO has {none}")

    def _value(self, key: str) -> int | None:
        """The number that the line of ``key`` holds; its kind says how it is written."""
        text = self.values.get(key)
        kind = key.partition("(")[0]
        if kind == "SYMBOL":
            return _hex(text) or None
        return _natural(text) if kind in ("OFFSET", "SIZE", "LENGTH") else _number(text)

    def config(self, name: str) -> bool:
        """Whether the text has ``CONFIG_<name>=y``."""
        return self.values.get(f"CONFIG_{name}") == "y"


def parse_version(release: str) -> tuple[int, int, int]:
    """The first three integers of ``uname -r``; zeros where there are none."""
    found = _VERSION.match(release)
    major, minor, patch = found.groups() if found else (None, None, None)
    return int(major or 0), int(minor or 0), int(patch or 0)


def _hex(text: str | None) -> int | None:
    return int(text, 16) if text and _HEX.fullmatch(text) else None


def _number(text: str | None) -> int | None:
    """Decimal if all characters are digits, else hexadecimal, with or without 0x."""
    if text and _DECIMAL.fullmatch(text):
        value = int(text)
        return value if -(1 << 63) <= value < 1 << 64 else None
    return _hex(text)


def _natural(text: str | None) -> int | None:
    value = _number(text)
    return None if value is None or value < 0 else value
