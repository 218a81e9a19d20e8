# SPDX-License-Identifier: MIT
"""Crash a real kernel in an emulated machine and hold oldmemfs to its promises there.

About two minutes for each crash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from oldmemfs.options import Options
from oldmemfs.sources import open_source

from .artifacts import header_address, keep
from .each import machines
from .judge import judge, kept_pages, whole_pages
from .kdump import CHECKS, Outcome, Setup, crash
from .kernels import NoKernelError
from .structpages import StructPages
from .tools import missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.vm

# Kernel series and loader. The first is measured too, and kept.
_CRASHES = ("6.1-s", "5.10-c", "6.12-s", "7-s", "6.1-c")
_MORE = ("6.1-c",)
# What makedumpfile must be, at least, to be right about a kernel; about 7, to keep nothing wrongly.
_LEAST = {"5.10": (1, 7, 2), "6.1": (1, 7, 2), "6.12": (1, 7, 7), "7": (1, 7, 8)}


@pytest.fixture(scope="module", params=machines({name: name for name in _CRASHES}, _MORE))
def outcome(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Outcome]:
    """One crash, shared by the tests that look at it."""
    lacking = missing()
    if lacking:
        pytest.skip(f"this host lacks {', '.join(lacking)}: see tests/vm/setup.sh")
    series, loader = request.param.split("-")
    setup = Setup(series=series, loader=loader, rounds=int(request.param == _CRASHES[0]))
    work = tmp_path_factory.mktemp(f"vm-{series}-{loader}")
    try:
        found = crash(setup, work)
    except NoKernelError as lacking_kernel:
        pytest.skip(str(lacking_kernel))
    yield found
    for image in work.glob("*.img"):
        image.unlink()


def test_capture_kernel_came_to_its_end(outcome: Outcome) -> None:
    assert outcome.problems() == []


@pytest.mark.parametrize("name", CHECKS)
def test_check(outcome: Outcome, name: str) -> None:
    (record,) = [record for record in outcome.records_of("check") if record["name"] == name]
    assert record["ok"], record["detail"]


def test_makedumpfile_follows_the_kernel(outcome: Outcome) -> None:
    (record,) = outcome.records_of("pages")
    version = tuple(int(number) for number in record["makedumpfile"].split("."))
    assert version >= _LEAST[outcome.setup.series]


def test_something_was_left_out(outcome: Outcome) -> None:
    """The comparison had kept, dropped and zeroed pages to look at."""
    (record,) = outcome.records_of("pages")
    assert 0 < record["kept"] <= record["in_the_file"] < record["memory"]
    assert record["zeroed"] > 0


def test_the_kernels_own_flags_were_compared(outcome: Outcome) -> None:
    """There were pages of each kind.

    From 7.1 on there are slab pages that makedumpfile drops, until it follows.
    """
    (flags,) = outcome.records_of("flags")
    for kind in ("kernel", "slab", "slab_tails", "out"):
        assert flags[kind] > 0, kind
    assert bool(flags["slab_that_makedumpfile_drops"]) == (not flags["makedumpfile_follows"])


def test_pages_that_were_otherwise_have_changed_hands(
    outcome: Outcome, record_property: Callable[[str, object], None]
) -> None:
    """The struct pages of the crash say so, of these and of all other pages.

    In the machine `vmcore-kern` is held against what the kernel said of its pages before.
    """
    dump = open_source(
        str(outcome.machine.ram),
        Options(source="raw", elfcorehdr=header_address(str(outcome.fact("cmdline")))),
    )
    pages = StructPages(dump.kernel)
    (flags,), (found,) = outcome.records_of("flags"), outcome.records_of("pages")
    assert [pfn for pfn in flags["hidden"] if pages.kind(pfn).kept] == []
    assert [pfn for pfn in flags["here"] + found["here"] if not pages.kind(pfn).kept] == []
    told = judge(outcome.said(), pages, kept_pages(dump, 31), whole_pages(dump), outcome.setup.cpus)
    record_property("measured", f"{outcome.setup.series}-{outcome.setup.loader} {told}")


def test_what_was_measured(
    outcome: Outcome, record_property: Callable[[str, object], None]
) -> None:
    """Emulation makes Python 20 times slower than hardware does: the bounds are wide."""
    lines = []
    for kind in ("first_look", "size_known", "pages", "flags", "memory"):
        records = outcome.records_of(kind)
        assert records
        for record in records:
            fields = (f"{name}={value}" for name, value in record.items() if name != "kind")
            lines.append(f"{kind}: {' '.join(fields)}")
    name = f"{outcome.setup.series}-{outcome.setup.loader}"
    record_property("measured", "\n".join([name, *lines]))
    (size_known,) = outcome.records_of("size_known")
    assert size_known["ratio_stat"] < 10  # less than 1, if nothing else runs on this host
    assert outcome.records_of("memory")[0]["MemAvailable"] > 20_000


def test_crash_can_be_kept(outcome: Outcome, tmp_path: Path) -> None:
    if not outcome.setup.rounds:
        pytest.skip("one is enough")
    keep(outcome, tmp_path / "kept")
    assert (tmp_path / "kept" / "elfcorehdr.bin").read_bytes()[:4] == b"\x7fELF"
    assert (tmp_path / "kept" / "ram.img.zst").stat().st_size > 1 << 20
