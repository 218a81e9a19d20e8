# SPDX-License-Identifier: MIT
"""Images that lie in memory: mapped where they have data, and nowhere else."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st
from support.served import DATA, PAGE, START, write_core
from support.tmpfs import needs_tmpfs

from oldmemfs.maps.memory import Access, Memory, Run
from oldmemfs.maps.plan import Plan
from oldmemfs.options import Options
from oldmemfs.sources import elf
from oldmemfs.sources.tmpfs import TmpfsImage

if TYPE_CHECKING:
    from pathlib import Path


CHUNK = 16 * PAGE


@needs_tmpfs
@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=20), st.integers(1, CHUNK), st.data())
def test_the_holes_stay_holes(chunks: list[bool], tail: int, draw: st.DataObject) -> None:
    size = (len(chunks) - 1) * CHUNK + tail
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        os.truncate(file.name, size)
        for i, there in enumerate(chunks):
            if there:
                os.pwrite(file.fileno(), os.urandom(CHUNK)[: size - i * CHUNK], i * CHUNK)
        with open(file.name, "rb") as plain:
            whole = plain.read()
        blocks = os.stat(file.name).st_blocks
        cut = draw.draw(st.integers(0, size))
        runs = [
            Run(0x1000, cut, file.fileno(), 0),
            Run(0x1000 + cut, size - cut, file.fileno(), cut),
        ]
        resident = TmpfsImage(file.fileno())
        mapped = list(resident.mapped([run for run in runs if run.size]))
        kinds = {run.access for run in mapped}
        assert kinds <= {Access.WINDOW, Access.PREAD}
        assert Access.WINDOW in kinds or not any(chunks[:-1]) or cut < size
        memory = Memory(tuple(mapped), resident.windows)
        start = draw.draw(st.integers(0, size - 1))
        assert memory.read(0x1000 + start, size - start) == whole[start:]
        assert memory.read(0x1000, size) == whole
        assert os.stat(file.name).st_blocks == blocks


@needs_tmpfs
def test_a_core_that_ends_inside_a_page_has_the_rest_missing() -> None:
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        wanted = write_core(file.name)
        end = START + DATA - 1000
        os.truncate(file.name, end)
        dump = elf.open(file.name, Options())
        for memory in (dump.memory, dump.present):
            assert any(run.access is Access.WINDOW for run in memory.runs)
        data, faults = Plan(dump.core, dump.present).table.read(end - PAGE, 2 * PAGE)
        assert data == wanted["vmcore"][end - PAGE : end] + bytes(PAGE)
        assert [tuple(f) for f in faults] == [(end, PAGE)]
        data, faults = dump.memory._table.read(end - PAGE, 2 * PAGE)
        assert data == wanted["oldmem"][end - PAGE : end] + bytes(PAGE)
        assert [tuple(f) for f in faults] == [(end, PAGE)]


def test_a_file_elsewhere_is_not_mapped(tmp_path: Path) -> None:
    with open("/proc/self/mounts", "rb") as file:
        resident = TmpfsImage(file.fileno())
        assert resident.windows is None
        run = Run(0, 100, file.fileno(), 0)
        assert list(resident.mapped([run])) == [run]
