"""Musts: memory without which a dump is worth little, looked up in the dead kernel by address.

What VMCOREINFO has a symbol for, the log, the root of the page tables, and the struct pages. After
a scan each of its pages must still be there; one that is not is put back, and reported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .errors import FaultError, FormatError
from .ranges import Range

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .kept import Kept
    from .kernel import Kernel
    from .memmap import MemMap

_MAX_LOG = 1 << 28
_MAX_LOG_SHIFT = 24


class Must(NamedTuple):
    """``[start, end)`` in physical addresses, and what it is."""

    name: str
    bytes: Range


def musts(kernel: Kernel, maps: Iterable[MemMap]) -> Iterator[Must]:
    """All that is known to be needed; what cannot be found is passed over."""
    for name in kernel.info.values:
        if name.startswith("SYMBOL(") and (virt := kernel.info.symbol(name[7:-1])):
            yield from _virtual(kernel, name, virt, 1)
    paging = kernel.space.paging
    if paging:
        yield Must("page tables", Range(paging.root, paging.root + kernel.page_size))
    for log in (_ring, _records):
        try:
            yield from log(kernel)
        except (FaultError, FormatError):
            continue  # the log itself is broken, or lies elsewhere: `dmesg` tells
    for part in maps:
        yield from _virtual(kernel, "struct pages", part.virt, part.size)


def restore(kept: Kept, zeros: Sequence[Range], needed: Iterable[Must]) -> list[str]:
    """Put back what of ``needed`` was excluded, but for ``zeros``; returns a line for each."""
    lines = []
    for must in needed:
        lost = kept.restore(_pages(must, kept), zeros)
        if lost:
            first = f"first at {lost[0].start << kept.page_shift:#x}"
            count = sum(r.size for r in lost)
            lines.append(f"{must.name}: {count} pages had been excluded, {first}; they are kept")
    return lines


def absent(kept: Kept, needed: Iterable[Must]) -> list[str]:
    """What of ``needed`` the dump cannot have: it is in no PT_LOAD. A line, or none."""
    outside = []
    for must in needed:
        pages = _pages(must, kept)
        if sum(ram.pages for ram in kept.cut(pages)) < pages.size:
            outside.append(must.name)
    if not outside:
        return []
    names = ", ".join(dict.fromkeys(outside))
    return [f"in no PT_LOAD, so readers of the dump will not find them: {names}"]


def _pages(must: Must, kept: Kept) -> Range:
    shift = kept.page_shift
    return Range(must.bytes.start >> shift, ((must.bytes.end - 1) >> shift) + 1)


def _virtual(kernel: Kernel, name: str, virt: int, size: int) -> Iterator[Must]:
    for phys, step in kernel.extents(virt, size):
        if phys is not None:
            yield Must(name, Range(phys, phys + step))


def _ring(kernel: Kernel) -> Iterator[Must]:
    """The lockless ring (5.10): descriptors, their infos, and the text."""
    symbol = kernel.info.symbol("prb")
    if symbol is None:
        return
    ring = kernel.u(symbol)

    def field(base: int, name: str, size: int | None = None) -> int:
        offset = kernel.info.offset(name)
        if offset is None:
            raise FormatError(f"VMCOREINFO does not say OFFSET({name})")
        return kernel.u(base + offset, size)

    def member(name: str) -> int:
        return ring + (kernel.info.offset(f"printk_ringbuffer.{name}") or 0)

    descs, text = member("desc_ring"), member("text_data_ring")
    count_bits = field(descs, "prb_desc_ring.count_bits", 4)
    size_bits = field(text, "prb_data_ring.size_bits", 4)
    if max(count_bits, size_bits) > _MAX_LOG_SHIFT:
        raise FormatError(f"a log of 1 << {max(count_bits, size_bits)} records or bytes")
    yield from _virtual(kernel, "log", ring, 1)
    for name, size in (("descs", "prb_desc"), ("infos", "printk_info")):
        if one := kernel.info.size_of(size):
            start = field(descs, f"prb_desc_ring.{name}")
            yield from _virtual(kernel, "log", start, min(one << count_bits, _MAX_LOG))
    yield from _virtual(kernel, "log", field(text, "prb_data_ring.data"), 1 << size_bits)


def _records(kernel: Kernel) -> Iterator[Must]:
    """The log buffer (until 5.9)."""
    buffer, length = kernel.info.symbol("log_buf"), kernel.info.symbol("log_buf_len")
    if buffer is not None and length is not None:
        size = min(kernel.u(length, 4), _MAX_LOG)
        yield from _virtual(kernel, "log", kernel.u(buffer), size)
