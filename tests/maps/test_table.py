# SPDX-License-Identifier: MIT
"""What C reads equals a ten-line model, edges, faults and bad pages included."""

from __future__ import annotations

import os
import signal
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.image import memory, pattern
from support.mounting import run

from oldmemfs.maps.layout import Layout
from oldmemfs.maps.memory import Access, Memory, Run, place
from oldmemfs.maps.plan import Plan
from oldmemfs.maps.table import Fault, Kind, Reader, Row, Table, Windows

PAGE = 4096
SIZE = 24 * PAGE
DATA = pattern(SIZE)


def model(layout: Layout, runs: list[Run], contents: dict[int, bytes]) -> list[int | None]:
    """Byte by byte what a plan holds; None where nothing can read it."""
    out: list[int | None] = []
    for e in layout.extents:
        for i in range(e.size):
            if e.fill.value == "bytes":
                out.append(layout.data[e.at + i])
            elif e.fill.value == "zero":
                out.append(0)
            else:
                hit = [r for r in runs if r.phys <= e.at + i < r.end]
                at = hit[0].offset + e.at + i - hit[0].phys if hit else -1
                held = contents[hit[0].fd] if hit else b""
                out.append(held[at] if 0 <= at < len(held) else None)
    return out


runs_drawn = st.lists(
    st.tuples(
        st.integers(0, 12 * PAGE),
        st.integers(1, 3 * PAGE),
        st.integers(0, SIZE + PAGE),
        st.sampled_from([Access.PREAD, Access.WINDOW]),
    ),
    max_size=5,
)
extents_drawn = st.lists(
    st.one_of(
        st.tuples(st.just("zero"), st.integers(0, 300)),
        st.tuples(st.just("bytes"), st.binary(max_size=300)),
        st.tuples(st.just("memory"), st.integers(0, 13 * PAGE), st.integers(0, 2 * PAGE)),
    ),
    max_size=6,
)


@settings(deadline=None, max_examples=150)
@given(runs_drawn, extents_drawn, st.data(), st.booleans())
def test_a_read_equals_the_model(
    drawn: list[tuple[int, int, int, Access]],
    extents: list[tuple[object, ...]],
    data: st.DataObject,
    words: bool,
) -> None:
    fd = os.memfd_create("memory")
    os.write(fd, DATA)
    runs = place(Run(phys, size, fd, offset, access) for phys, size, offset, access in drawn)
    layout = Layout()
    for kind, *values in extents:
        getattr(layout, str(kind))(*values, "drawn")
    plan = Plan(layout, Memory(tuple(runs), Windows(4 * PAGE, 2, words)))
    expected = model(layout, runs, {fd: DATA})
    assert plan.size == len(expected)

    offset = data.draw(st.integers(0, plan.size + 10))
    size = data.draw(st.integers(0, plan.size + 10))
    got, faults = plan.table.read(offset, size)
    wanted = expected[offset : offset + size]
    assert len(got) == len(wanted)
    bad = {i for f in faults for i in range(f.offset - offset, f.offset - offset + f.size)}
    assert bad == {i for i, value in enumerate(wanted) if value is None}
    assert list(got) == [value or 0 for value in wanted]
    view, again = Reader().read(plan.table, offset, size)
    assert (bytes(view), sum(f.size for f in again)) == (got, len(bad))
    os.close(fd)


@pytest.mark.parametrize("access", [Access.PREAD, Access.WINDOW])
def test_a_file_cut_short_costs_only_what_is_missing(access: Access) -> None:
    m = memory(DATA, access)
    os.truncate(f"/proc/self/fd/{m.runs[0].fd}", 5 * PAGE)
    layout = Layout()
    layout.memory(0, SIZE, "all")
    got, faults = Plan(layout, m).table.read(0, SIZE)
    assert got == DATA[: 5 * PAGE] + bytes(SIZE - 5 * PAGE)
    assert faults == [Fault(5 * PAGE, SIZE - 5 * PAGE)]


def test_a_page_in_the_middle_that_cannot_be_read() -> None:
    pieces = memory(DATA[: 8 * PAGE], Access.WINDOW).runs + tuple(
        Run(r.phys + 8 * PAGE, 8 * PAGE, r.fd, r.offset) for r in memory(DATA[: 8 * PAGE]).runs
    )
    layout = Layout()
    layout.memory(0, 16 * PAGE, "all")
    layout.memory(1 << 40, PAGE, "nowhere")
    layout.bytes(b"end", "end")
    got, faults = Plan(layout, Memory(pieces)).table.read(0, layout.size)
    assert got == 2 * DATA[: 8 * PAGE] + bytes(PAGE) + b"end"
    assert faults == [Fault(16 * PAGE, PAGE)]


def test_more_faults_than_one_list_holds() -> None:
    layout = Layout()
    for i in range(1000):
        layout.memory(1 << 40, 1, "bad")
        layout.bytes(bytes([i % 256]), "good")
    plan = Plan(layout, Memory(()))
    wanted = b"".join(bytes([0, i % 256]) for i in range(1000))
    faults = [Fault(2 * i, 1) for i in range(1000)]
    assert plan.table.read(0, 5000) == (wanted, faults)
    view, met = Reader().read(plan.table, 0, 2000)
    assert (bytes(view), met) == (wanted, faults)


def test_windows_are_shared_by_threads() -> None:
    fd = os.memfd_create("memory")
    os.write(fd, DATA)
    whole = Memory((Run(0, SIZE, fd, 0, Access.WINDOW),), Windows(PAGE, 1, words=False))
    layout = Layout()
    layout.memory(0, SIZE, "all")
    plan = Plan(layout, whole)
    wrong: list[int] = []

    def read(start: int) -> None:
        for i in range(200):
            at = (start * 7919 + i * 104729) % SIZE
            if plan.table.read(at, 3 * PAGE) != (DATA[at : at + 3 * PAGE], []):
                wrong.append(at)

    threads = [threading.Thread(target=read, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_rows_must_be_contiguous() -> None:
    with pytest.raises(AssertionError, match="row 1 starts at 0x20, not at 0x10"):
        Table([Row(0, 0x10, Kind.ZERO), Row(0x20, 1, Kind.ZERO)], b"", None)


def test_a_sigbus_that_is_not_ours_still_kills() -> None:
    program = (
        "import mmap, os\n"
        "from oldmemfs.maps.table import Windows\n"
        "Windows()\n"
        "fd = os.memfd_create('x'); os.ftruncate(fd, 4096)\n"
        "m = mmap.mmap(fd, 4096); os.ftruncate(fd, 0); m[0]\n"
    )
    done = run(sys.executable, "-P", "-c", program)
    assert done.returncode == -signal.SIGBUS
