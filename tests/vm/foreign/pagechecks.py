# SPDX-License-Identifier: MIT
"""The checks of single pages: which are kept, and with which bytes."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from oldmemfs.filter.filtered import filtered
from oldmemfs.maps.plan import Plan

from ..guest.pageflags import understood
from ..judge import judge, kept_pages, pfns, whole_pages
from ..structpages import StructPages
from .crashed import FLAGS_MIB, MIB

if TYPE_CHECKING:
    from .crashed import Crashed


def pages(crashed: Crashed) -> str:
    """At every level the pages that makedumpfile keeps; zero pages are in its second bitmap."""
    seen = []
    for level in crashed.target.levels:
        memory, kept = crashed.bitmaps(level)
        ours = kept_pages(crashed.dump, level)
        theirs = {pfn for pfn in whole_pages(crashed.dump) if pfn in kept}
        lost, more = sorted(theirs - ours), sorted(ours - theirs)
        told = f"-d {level}: {len(ours)} of {memory.count()} pages kept"
        assert not lost, f"{told}; lost {len(lost)}, first {lost[0]:#x}, more {len(more)}"
        assert not more, f"{told}; more {len(more)}, first {more[0]:#x}"
        seen.append(told)
    return "; ".join(seen)


def flags(crashed: Crashed) -> str:
    """At level 31 the pages that the kernel itself calls its own, by /proc/kpageflags."""
    with (crashed.machine.work / "flags").open("rb") as file:
        before, after = (array("Q", file.read(FLAGS_MIB * MIB)) for _ in range(2))
    pages = StructPages(crashed.dump.kernel)
    kept = kept_pages(crashed.dump, 31)
    return judge(
        understood(before, after), pages, kept, whole_pages(crashed.dump), crashed.target.cpus
    )


def kern(crashed: Crashed) -> str:
    """`vmcore-kern` has every page kept, byte for byte, and zeros for the others."""
    dump = crashed.dump
    page = dump.kernel.page_size
    result = filtered(dump.kernel, dump.header, dump.notes, 31)
    keep = pfns(result.classes.kept)
    plan = Plan(result.core.layout, dump.memory)
    seen: set[int] = set()
    for phdr in result.core.header.loads:
        first, last = phdr.paddr // page, (phdr.paddr + phdr.memsz - 1) // page
        for pfn in range(first, last + 1):
            start = max(pfn * page, phdr.paddr)
            size = min((pfn + 1) * page, phdr.paddr + phdr.memsz) - start
            data, faults = plan.table.read(phdr.offset + start - phdr.paddr, size)
            assert not faults
            if not phdr.filesz:
                data = bytes(size)
            if pfn in keep or not phdr.filesz:
                assert data == dump.memory.read(start, size), hex(pfn)
                seen.add(pfn)
            else:
                assert not any(data), hex(pfn)
    missing = keep - seen
    assert not missing, f"{len(missing)} pages kept are not there, first {min(missing):#x}"
    assert not result.restored, result.restored
    return f"{plan.size} bytes, {len(keep)} pages; doubts {result.doubts}"
