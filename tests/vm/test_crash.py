"""Crash a real kernel in an emulated machine and hold oldmemfs to its promises there.

Takes about two minutes for each of five crashes; `pytest -m vm` runs nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .artifacts import keep
from .crash import CHECKS, Outcome, Setup, crash
from .kernels import NoKernelError
from .tools import missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.vm

# Kernel series and loader. The first is measured too, and kept.
_CRASHES = (("6.1", "s"), ("6.1", "c"), ("5.10", "c"), ("6.12", "s"), ("7", "s"))
# What makedumpfile must be, at least, to be right about a kernel; about 7, to keep nothing wrongly.
_LEAST = {"5.10": (1, 7, 2), "6.1": (1, 7, 2), "6.12": (1, 7, 7), "7": (1, 7, 8)}


@pytest.fixture(scope="module", params=_CRASHES, ids="-".join)
def outcome(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Outcome]:
    """One crash, shared by the tests that look at it."""
    lacking = missing()
    if lacking:
        pytest.skip(f"this host lacks {', '.join(lacking)}: see tests/vm/setup.sh")
    series, loader = request.param
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
    (record,) = [record for record in outcome.of("check") if record["name"] == name]
    assert record["ok"], record["detail"]


def test_makedumpfile_follows_the_kernel(outcome: Outcome) -> None:
    (record,) = outcome.of("pages")
    version = tuple(int(number) for number in record["makedumpfile"].split("."))
    assert version >= _LEAST[outcome.setup.series]


def test_something_was_left_out(outcome: Outcome) -> None:
    """The comparison had kept, dropped and zeroed pages to look at."""
    (record,) = outcome.of("pages")
    assert 5000 < record["kept"] < record["in_the_file"] < record["memory"] // 2
    assert record["zeroed"] > 0


def test_the_kernels_own_flags_were_compared(outcome: Outcome) -> None:
    """Of each kind there were many, and next to none changed hands while the flags were read.

    From 7.1 on there are slab pages that makedumpfile drops, until it follows.
    """
    (flags,) = outcome.of("flags")
    assert flags["changed"] < 200
    assert flags["kernel"] > 10_000
    assert flags["slab"] > 1000
    assert flags["slab_tails"] > 300
    assert flags["out"] > 10_000
    assert (flags["slab_that_makedumpfile_drops"] > 100) == (not flags["makedumpfile_follows"])


def test_what_was_measured(
    outcome: Outcome, record_property: Callable[[str, object], None]
) -> None:
    """Emulation makes Python 20 times slower than hardware does: the bounds are wide."""
    lines = []
    for kind in ("first_look", "size_known", "pages", "flags", "memory"):
        records = outcome.of(kind)
        assert records
        for record in records:
            fields = (f"{name}={value}" for name, value in record.items() if name != "kind")
            lines.append(f"{kind}: {' '.join(fields)}")
    name = f"{outcome.setup.series}-{outcome.setup.loader}"
    record_property("measured", "\n".join([name, *lines]))
    (size_known,) = outcome.of("size_known")
    assert size_known["ratio_stat"] < 2
    assert outcome.of("memory")[0]["MemAvailable"] > 20_000


def test_crash_can_be_kept(outcome: Outcome, tmp_path: Path) -> None:
    if not outcome.setup.rounds:
        pytest.skip("one is enough")
    keep(outcome, tmp_path / "kept")
    assert (tmp_path / "kept" / "elfcorehdr.bin").read_bytes()[:4] == b"\x7fELF"
    assert (tmp_path / "kept" / "ram.img.zst").stat().st_size > 1 << 20
