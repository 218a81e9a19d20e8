# SPDX-License-Identifier: MIT
"""What could not be read is listed by its physical address, of a core file too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.catalogs import catalog_of, plan_of
from support.image import LOAD, NOTE, Blob, Segment
from support.mounting import OLDMEMFS, run

from oldmemfs.maps.table import Fault
from oldmemfs.views.unreadable import _MOST

if TYPE_CHECKING:
    from pathlib import Path

    from oldmemfs.views.catalog import Catalog

HEADERS = 64 + 4 * 56
SEGMENTS = [
    Segment(NOTE, HEADERS, 12), Segment(LOAD, 0x1000, 0x2000, paddr=0x100000),
    Segment(LOAD, 0x3000, 0x3000, paddr=0x40000000), Segment(LOAD, 0x8000, 0x1000, paddr=0x5000),
]  # fmt: skip


def truncated(tmp_path: Path, size: int) -> Catalog:
    path = tmp_path / "core"
    path.write_bytes(Blob(SEGMENTS).pack().ljust(size, b"x"))
    return catalog_of(str(path))


def listed(catalog: Catalog, name: str) -> list[list[str]]:
    """The rows of `badpages` after a read of a whole file, as words."""
    plan = plan_of(catalog, name)
    faults = plan.table.read(0, plan.size)[1]
    catalog.badpages.add(name, plan, faults)
    return [line.split() for line in catalog.badpages.text(catalog.dump).splitlines()[1:]]


def test_of_a_core_by_physical_address(tmp_path: Path) -> None:
    """One hole in the file: a row for each PT_LOAD in it; what is in none has no address."""
    assert listed(truncated(tmp_path, 0x2000), "vmcore") == [
        ["0x101000", "0x0000000000001000", "vmcore", "0x2000"],
        ["0x40000000", "0x0000000000003000", "vmcore", "0x3000"],
        ["-", "0x0000000000002000", "vmcore", "0x6000"],
        ["0x5000", "0x0000000000001000", "vmcore", "0x8000"],
    ]


def test_as_oldmem_has_them(tmp_path: Path) -> None:
    catalog = truncated(tmp_path, 0x2000)
    of_vmcore = {row[0]: row[1] for row in listed(catalog, "vmcore") if row[0] != "-"}
    of_oldmem = {row[0]: row[1] for row in listed(catalog, "oldmem") if row[2] == "oldmem"}
    assert of_vmcore.items() <= of_oldmem.items()
    assert len(of_vmcore) == 3


def test_the_list_ends(tmp_path: Path) -> None:
    catalog = truncated(tmp_path, 0x2000)
    plan = plan_of(catalog, "vmcore")
    catalog.badpages.add("vmcore", plan, [Fault(2 * i, 1) for i in range(_MOST // 2)])
    catalog.badpages.add("vmcore", plan, [Fault(0x20000 + 2 * i, 1) for i in range(_MOST)])
    text = catalog.badpages.text(catalog.dump)
    assert text.count("\n") <= _MOST + 2
    assert "bytes more, in ranges that are not listed\n" in text


@pytest.mark.parametrize(
    ("options", "word"), [([], "read as zeros"), (["-o", "strict"], "give EIO")]
)
def test_the_start_says_what_the_missing_ones_do(
    options: list[str], word: str, tmp_path: Path
) -> None:
    truncated(tmp_path, 0x2000)
    done = run(*OLDMEMFS, "--list", str(tmp_path / "core"), *options)
    assert f"bytes, it has 0x2000; the missing ones {word}\n" in done.stderr
