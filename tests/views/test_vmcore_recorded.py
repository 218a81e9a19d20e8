# SPDX-License-Identifier: MIT
"""The recorded real crashes: `vmcore` has the sha256 that the kernel's own /proc/vmcore had."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from support.catalogs import catalog_of, plan_of
from support.recorded import each_golden, folder, image

from oldmemfs.host.cmdline import elfcorehdr

if TYPE_CHECKING:
    from oldmemfs.maps.plan import Plan


def digest(plan: Plan) -> str:
    total = hashlib.sha256()
    for offset in range(0, plan.size, 1 << 20):
        data, faults = plan.table.read(offset, 1 << 20)
        assert not faults
        total.update(data)
    return total.hexdigest()


@each_golden
@pytest.mark.parametrize("where", ["found by scanning", "given as an address", "given as a file"])
def test_vmcore_is_what_proc_vmcore_was(golden: str, where: str) -> None:
    at = elfcorehdr((folder(golden) / "cmdline").read_text())
    options = {
        "found by scanning": "",
        "given as an address": f"elfcorehdr={at:#x}",
        "given as a file": f"elfcorehdr={folder(golden) / 'elfcorehdr.bin'}",
    }[where]
    catalog = catalog_of(str(image(golden)), options)
    plan = plan_of(catalog, "vmcore")
    sha256, size = (folder(golden) / "vmcore.sha256").read_text().split()
    assert (plan.size, digest(plan)) == (int(size), sha256)
    assert not catalog.dump.warnings


@each_golden
def test_oldmem_holds_the_ram_that_makedumpfile_saw(golden: str) -> None:
    """Every page of valid.txt is in `oldmem`, and a saved vmcore gives the same `oldmem`."""
    catalog = catalog_of(str(image(golden)))
    ranges = catalog.dump.memory.ranges
    for line in (folder(golden) / "valid.txt").read_text().split():
        first, _, last = line.partition("-")
        start, end = int(first, 16) << 12, (int(last or first, 16) + 1) << 12
        assert any(r.start <= start and end <= r.end + 0x400 for r in ranges), line


@each_golden
def test_a_saved_vmcore_is_itself(golden: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    first = catalog_of(str(image(golden)))
    plan = plan_of(first, "vmcore")
    saved = tmp_path_factory.mktemp("saved") / "vmcore"
    with saved.open("wb") as file:
        for offset in range(0, plan.size, 1 << 20):
            file.write(plan.table.read(offset, 1 << 20)[0])
    second = catalog_of(str(saved))
    assert digest(plan_of(second, "vmcore")) == digest(plan)
    assert second.dump.vmcoreinfo == first.dump.vmcoreinfo
    loads = first.dump.header.loads
    for p in loads:
        for at in (p.paddr, p.paddr + p.memsz // 2, p.paddr + p.memsz - 16):
            assert second.dump.memory.read(at, 16) == first.dump.memory.read(at, 16)
    saved.unlink()
