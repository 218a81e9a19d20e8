"""The recorded crashes as dumps, and the lists of pages that their own capture kernels wrote."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from golden import folder, image

from oldmemfs.options import Options
from oldmemfs.plan import Plan
from oldmemfs.sources import open_source

if TYPE_CHECKING:
    from pathlib import Path

    from oldmemfs.dump import Dump

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
