# SPDX-License-Identifier: MIT
"""PageMask: a bit for each page of memory. The bit is set if the filtered dump has the page.

::

    pfn    1        0x9f    0x100              0x13000     0x1f000
           |- ram --|       |------- ram -------|          |-- ram --|
    bit    0        0x9e    0x9e                ...

Bits are numbered without gaps over all ranges of memory; a page that is in no range has no bit and
is not in the dump. With 4 KiB pages the bits take 1/32768 of the size of the memory.
"""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from .._oldmem import ffi, lib
from ..errors import FormatError, ShortageError
from ..ranges import Range, intersect, round_down, round_up, subtract, union

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# The sweep in C goes by aligned batches of so many pages. As in makedumpfile, the last page of a
# batch is never taken for the head of a compound page.
HEADS: int = lib.OM_BATCH
MAX_PAGES = 1 << 34  # 64 TiB in pages of 4 KiB: 2 GiB of bits
_pfn = attrgetter("pfn")


class Ram(NamedTuple):
    """The pages ``[pfn, pfn + pages)``; the first one's bit is number ``bit``."""

    pfn: int
    pages: int
    bit: int

    @property
    def end(self) -> int:
        """One past the last pfn."""
        return self.pfn + self.pages


def pages_of(bytes_: Iterable[Range], page_shift: int) -> list[Range]:
    """The pages (pfns) that hold any of these bytes; sorted and disjoint."""
    low = (1 << page_shift) - 1
    return union(Range(r.start >> page_shift, (r.end + low) >> page_shift) for r in bytes_)


class PageMask:
    """The bits of the pages in ``ranges`` (pfns; sorted and disjoint); at first all are set.

    Raises ``FormatError`` for more than ``MAX_PAGES`` pages, ``ShortageError`` if the bits take
    more than ``spare`` bytes.
    """

    def __init__(self, ranges: Iterable[Range], page_shift: int, spare: int | None = None) -> None:
        ram: list[Ram] = []
        total = 0
        for start, end in ranges:
            ram.append(Ram(start, end - start, total))
            total += end - start
        if total > MAX_PAGES:
            raise FormatError(
                f"{total << page_shift:#x} bytes of memory: more than any machine has"
            )
        self.ram = tuple(ram)
        self.pages = total
        self.page_shift = page_shift
        size = (total + 7) // 8
        if spare is not None and size > spare:
            raise ShortageError(
                f"a bit for each page takes {size >> 20} MiB and {spare >> 20} MiB are left here:"
                " give the capture kernel more (crashkernel=), or save `vmcore`"
            )
        self.bits = bytearray(b"\xff") * size
        self.handle = ffi.from_buffer("uint8_t[]", self.bits)

    def bit(self, pfn: int) -> int | None:
        """The number of the page's bit; None if it has none."""
        i = bisect_right(self.ram, pfn, key=_pfn) - 1
        if i < 0 or pfn >= self.ram[i].end:
            return None
        return self.ram[i].bit + pfn - self.ram[i].pfn

    def __contains__(self, pfn: int) -> bool:
        bit = self.bit(pfn)
        return bit is not None and bool(self.bits[bit // 8] >> bit % 8 & 1)

    def clear(self, pages: Range) -> int:
        """Clear the bits of ``pages`` (pfns); returns how many were set before."""
        return sum(
            int(lib.om_bits_clear(self.handle, r.bit, r.bit + r.pages)) for r in self.cut(pages)
        )

    def restore(self, pages: Range, but: Sequence[Range] = ()) -> list[Range]:
        """Set the bits of ``pages`` except those in ``but`` (sorted, disjoint); all are pfns.

        Returns the pages whose bits were clear before and are set now.
        """
        lost: list[Range] = []
        for ram in self.cut(pages):
            end = ram.bit + ram.pages
            if int(lib.om_bits_count(self.handle, ram.bit, end)) == ram.pages:
                continue
            whole = Range(ram.pfn, ram.end)
            clear = subtract(whole, self.runs(whole))
            for left in (left for hole in clear for left in subtract(hole, but)):
                self._set(left.start - ram.pfn + ram.bit, left.end - ram.pfn + ram.bit)
                lost.append(left)
        return lost

    def _set(self, start: int, end: int) -> None:
        """Set the bits ``[start, end)``."""
        while start < end:
            byte = start // 8
            if start % 8 or end - start < 8:
                stop = min(end, (byte + 1) * 8)
                self.bits[byte] |= (1 << stop - byte * 8) - (1 << start % 8)
            else:
                stop = end - end % 8
                self.bits[byte : stop // 8] = b"\xff" * (stop // 8 - byte)
            start = stop

    def count(self, pages: Range | None = None) -> int:
        """How many bits are set: of ``pages``, or of all."""
        cuts = [(0, self.pages)]
        if pages:
            cuts = [(r.bit, r.bit + r.pages) for r in self.cut(pages)]
        return sum(int(lib.om_bits_count(self.handle, *cut)) for cut in cuts)

    def cut(self, pages: Range) -> Iterator[Ram]:
        """The parts of ``pages`` that have bits, in order."""
        i = max(bisect_right(self.ram, pages.start, key=_pfn) - 1, 0)
        while i < len(self.ram) and (ram := self.ram[i]).pfn < pages.end:
            if both := intersect(Range(ram.pfn, ram.end), pages):
                yield Ram(both.start, both.size, ram.bit + both.start - ram.pfn)
            i += 1

    def blocks(self, pages: Range, unit: int) -> Iterator[Range]:
        """The aligned blocks of ``unit`` pages in which a page has a bit, joined, cut to ``pages``.

        ::

            unit    |       |       |       |       |
            pages      |-------------------------|
            ram             |-|  |-|        |-|
            blocks          |-------|       |----|
        """
        held: Range | None = None
        for ram in self.cut(pages):
            start = max(round_down(ram.pfn, unit), pages.start)
            end = min(round_up(ram.end, unit), pages.end)
            if held and start <= held.end:
                held = Range(held.start, end)
                continue
            if held:
                yield held
            held = Range(start, end)
        if held:
            yield held

    def count_runs(self, pages: Range, gap: int) -> int:
        """How many runs ``runs`` finds in ``pages``, or a few more.

        A run that goes across the border of two ranges of memory is counted twice.
        """
        return sum(
            int(lib.om_bits_runs(self.handle, r.bit, r.bit + r.pages, gap, ffi.NULL, 0))
            for r in self.cut(pages)
        )

    def runs(self, pages: Range, gap: int = 1) -> list[Range]:
        """The runs of pages (pfns) in ``pages`` whose bits are set.

        Two runs become one if fewer than ``gap`` pages with clear bits lie between them and every
        page between them has a bit.
        """
        found: list[Range] = []
        for r in self.cut(pages):
            end = r.bit + r.pages
            count = lib.om_bits_runs(self.handle, r.bit, end, gap, ffi.NULL, 0)
            out = ffi.new("struct om_range[]", max(count, 1))
            lib.om_bits_runs(self.handle, r.bit, end, gap, out, count)
            move = r.pfn - r.bit
            found += [Range(o.start + move, o.end + move) for o in out[0:count]]
        return found
