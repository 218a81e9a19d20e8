# SPDX-License-Identifier: MIT
"""Table: the sorted rows that C reads bytes by; every read of old memory goes through one.

The rows are contiguous from offset 0. ``tests/test_imports.py`` lists the files that import the C
extension.
"""

from __future__ import annotations

import platform
import struct
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from .._oldmem import ffi, lib
from ..errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .pagemask import PageMask


MIB = 1 << 20
MAX_SIZE = 1 << 63
MAX_ROWS = 1 << 20  # of a table: 56 MiB
MAX_READ = MIB  # bytes of the largest read request, and so of the buffers for the answers
HOLE_LEAST: int = lib.OM_HOLE_LEAST
UNMASKED: int = lib.OM_UNMASKED
_ROW = struct.Struct("=6QiI")  # struct om_row
_new_buffer = ffi.new_allocator(should_clear_after_alloc=False)


class Kind(IntEnum):
    """Where a row's bytes come from (``enum om_kind``)."""

    HOLE = lib.OM_HOLE
    ZERO = lib.OM_ZERO
    BYTES = lib.OM_BYTES
    PREAD = lib.OM_PREAD
    WINDOW = lib.OM_WINDOW


class Row(NamedTuple):
    """``[start, start + size)`` of the table is found at ``at``; all in bytes.

    ``at`` is an offset in the table's ``data`` for ``BYTES``, in ``fd`` for ``PREAD`` and
    ``WINDOW``. For ``WINDOW`` only ``[low, high)`` of ``fd`` may be mapped. ``mask`` is
    the number of the first page's bit in the table's mask times the page size, plus where the row
    starts in that page; pages whose bit is clear read as zeros. ``UNMASKED``: all pages are read.
    """

    start: int
    size: int
    kind: Kind
    at: int = 0
    fd: int = -1
    low: int = 0
    high: int = 0
    mask: int = UNMASKED


class Fault(NamedTuple):
    """``[offset, offset + size)`` of a table could not be read, and was given as zeros."""

    offset: int
    size: int


class Windows:
    """A cache of ``count`` mappings, which tables and threads share.

    A read at a new place maps ``least`` bytes, a sequential read more, up to ``size``: mmap of
    /dev/mem makes page table entries for all of the range at once, which costs time and memory.
    ``words``: copy word by word with aligned accesses, for memory that is mapped as Device memory.
    """

    def __init__(
        self,
        size: int = 16 * MIB,
        count: int = 8,
        words: bool | None = None,
        least: int = MIB // 16,
        *,
        pinnable: bool = False,
    ) -> None:
        if words is None:  # arm64 and others map memory outside their System RAM as Device
            words = platform.machine() not in ("x86_64", "i686", "i386")
        made = lib.om_windows_new(size, min(size, least), count, words, pinnable)
        if made == ffi.NULL:
            raise MemoryError
        self.handle = ffi.gc(made, lib.om_windows_free)


class Table:
    """The rows of one space, packed once into the array that C reads.

    ``data`` is what ``BYTES`` rows point into. Raises ``FormatError`` for more than ``MAX_ROWS``
    rows or ``MAX_SIZE`` bytes.
    """

    def __init__(
        self,
        rows: Iterable[Row],
        data: bytes,
        windows: Windows | None,
        mask: PageMask | None = None,
    ) -> None:
        self._data = ffi.from_buffer(data)  # keeps the bytes where they are
        base = int(ffi.cast("uintptr_t", self._data))
        packed = bytearray()
        end = 0
        for i, row in enumerate(rows):
            assert row.start == end, f"row {i} starts at {row.start:#x}, not at {end:#x}"
            assert row.mask == UNMASKED or (
                mask and row.mask + row.size <= mask.pages << mask.page_shift
            ), f"row {i} goes beyond the end of its mask"
            end = row.start + row.size
            at = row.at + base if row.kind is Kind.BYTES else row.at
            if end > MAX_SIZE:  # C counts in 64 bits
                raise FormatError(
                    f"a map of {end:#x} bytes or more: at most {MAX_SIZE:#x} can be read"
                )
            if i == MAX_ROWS:
                raise FormatError(f"a map of more than {MAX_ROWS} pieces: the memory overlaps")
            packed += _ROW.pack(row.start, row.size, at, *row[5:], row.fd, row.kind)
        self.size = end
        self._packed = ffi.from_buffer("struct om_row[]", packed)
        self._windows = windows
        self._mask = mask
        self.handle = ffi.new("struct om_table *")
        self.handle.rows = self._packed
        self.handle.count = len(packed) // _ROW.size
        self.handle.windows = windows.handle if windows else ffi.NULL
        if mask:
            self.handle.mask, self.handle.mask_shift = mask.handle, mask.page_shift

    def read(self, offset: int, size: int) -> tuple[bytes, list[Fault]]:
        """The bytes at ``offset``, fewer only at the end, and the faults among them."""
        size = max(min(size, self.size - offset), 0)
        out = bytearray(size)
        target = ffi.from_buffer(out)
        faults: list[Fault] = []
        list_in_c = ffi.new("struct om_faults *")
        done = 0
        while done < size:
            done += lib.om_read(self.handle, offset + done, target + done, size - done, list_in_c)
            faults += _faults(list_in_c)
        return bytes(out), faults

    def seek(self, offset: int, *, hole: bool) -> int | None:
        """The first offset at or after ``offset`` that is data, or a hole; None if there is none.

        Zeros in a stretch of less than ``HOLE_LEAST`` bytes are data; the end is a hole.
        """
        found = int(lib.om_seek(self.handle, offset, hole))
        return None if found == lib.OM_NOWHERE else found

    @cached_property
    def data_size(self) -> int:
        """How many bytes are data, as ``seek`` has it."""
        return int(lib.om_data_size(self.handle))


class Reader:
    """A buffer and a fault list that each read uses again, so that no read allocates memory."""

    def __init__(self) -> None:
        self._size = MAX_READ
        self._buffer = _new_buffer("char[]", self._size)
        self._view = memoryview(ffi.buffer(self._buffer, self._size))
        self._faults = ffi.new("struct om_faults *")

    def read(self, table: Table, offset: int, size: int) -> tuple[memoryview, list[Fault]]:
        """As ``Table.read``; the next call overwrites the bytes."""
        self._make_room(size)
        done = lib.om_read(table.handle, offset, self._buffer, size, self._faults)
        if not self._faults.count:
            return self._view[:done], []
        faults = _faults(self._faults)
        while done < size and offset + done < table.size:
            done += lib.om_read(
                table.handle, offset + done, self._buffer + done, size - done, self._faults
            )
            faults += _faults(self._faults)
        return self._view[:done], faults

    def read_now(
        self, table: Table, offset: int, size: int
    ) -> tuple[memoryview, list[Fault]] | None:
        """As ``read``, but only if it does not block.

        Returns None, to be asked again through ``read`` in a thread, if a file would have to be
        read from a disk, or if there are more faults than the list holds.
        """
        self._make_room(size)
        done = lib.om_read_now(table.handle, offset, self._buffer, size, self._faults)
        if done == lib.OM_WOULD_WAIT or done < min(size, table.size - offset):
            return None
        return self._view[:done], _faults(self._faults)

    def _make_room(self, size: int) -> None:
        if size > self._size:
            self._size = size
            self._buffer = _new_buffer("char[]", size)
            self._view = memoryview(ffi.buffer(self._buffer, size))


def _faults(list_in_c: ffi.CData) -> list[Fault]:
    return [Fault(f.offset, f.size) for f in list_in_c.at[0 : list_in_c.count]]
