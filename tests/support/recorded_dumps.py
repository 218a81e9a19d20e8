# SPDX-License-Identifier: MIT
"""The recorded crashes as dumps, and the lists of pages that their own capture kernels wrote."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from oldmemfs.filter.classes import LONG, classify
from oldmemfs.filter.memmap import memory_map
from oldmemfs.filter.rules import Rules
from oldmemfs.filter.sections import sections
from oldmemfs.kernel.arch import x86_64
from oldmemfs.maps.plan import Plan
from oldmemfs.options import Options
from oldmemfs.ranges import Range
from oldmemfs.sources import open_source
from support.recorded import folder, image

if TYPE_CHECKING:
    from pathlib import Path

    from oldmemfs.dump import Dump
    from oldmemfs.filter.classes import Classes

MIB = 1 << 20


@cache
def dump(name: str) -> Dump:
    """The crash, from its image and its header."""
    header = str(folder(name) / "elfcorehdr.bin")
    return open_source(image(name), Options(source="raw", elfcorehdr=header))


def pfns(name: str, file: str) -> set[int]:
    """The page frames that a set's file of inclusive hexadecimal ranges lists."""
    found: set[int] = set()
    for line in (folder(name) / file).read_text().splitlines():
        first, last = (int(word, 16) for word in line.split())
        found.update(range(first, last + 1))
    return found


def classes(crash: Dump, level: int, long: int = LONG) -> Classes:
    """The crash's pages, told apart."""
    dead = crash.kernel
    rules = Rules.from_vmcoreinfo(
        crash.vmcoreinfo, 8, big_endian=False, huge_orders=x86_64.ARCH.huge_orders
    )
    loads = [Range(p.paddr, p.paddr + p.memsz) for p in crash.header.loads]
    maps = sections(dead, memory_map(dead))
    return classify(dead.memory, loads, maps, rules, level, long=long)


def kept(found: Classes) -> set[int]:
    """The page frames kept, but for long runs of zeros."""
    return {p for r in found.kept.runs(Range(0, 1 << 40)) for p in range(*r)}


def save(plan: Plan, path: Path) -> None:
    """A file with the plan's bytes, all of which must be readable."""
    with path.open("wb") as out:
        for at in range(0, plan.size, MIB):
            data, faults = plan.table.read(at, MIB)
            assert not faults
            out.write(data)


def save_vmcore(crash: Dump, path: Path) -> None:
    """/proc/vmcore as a file."""
    save(Plan(crash.core, crash.present), path)
