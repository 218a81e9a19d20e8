# SPDX-License-Identifier: MIT
"""The first look through a mount: dmesg, registers, summary; each fails alone."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from support.catalogs import catalog_of, plan_of, read_all
from support.image import HEADER, LOAD, NOTE, NOTES, Blob, Image, Segment, cpu_note, crashed
from support.mounting import OLDMEMFS, mounted, needs_mount, run
from support.recorded import each_golden, folder, image

from oldmemfs.dump import Dump
from oldmemfs.errors import FormatError
from oldmemfs.filter.classes import Watch
from oldmemfs.kernel import taint
from oldmemfs.views.catalog import LiveView, View

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from oldmemfs.views.catalog import Catalog


def text_of(catalog: Catalog, name: str) -> str:
    (view,) = (v for v in catalog.views if v.name == name)
    if isinstance(view, LiveView):
        return view.text(catalog)
    return read_all(plan_of(catalog, name))[0].decode()


@needs_mount[0]
@needs_mount[1]
@each_golden
def test_a_real_crash(golden: str, tmp_path: Path) -> None:
    with mounted(str(image(golden)), tmp_path / "mnt"):
        mnt = tmp_path / "mnt"
        dmesg = (mnt / "dmesg").read_bytes()
        recorded = folder(golden) / "vmcore-dmesg.txt"
        if recorded.exists():  # the tool of the 5.10 set could not read its log
            assert dmesg == recorded.read_bytes()
        assert b"Kernel panic - not syncing: sysrq triggered crash" in dmesg
        records = [json.loads(line) for line in (mnt / "dmesg.json").read_text().splitlines()]
        assert [r["seq"] for r in records] == list(range(len(records)))
        assert all(0 <= r["level"] <= 7 for r in records)
        assert sum(r["text"].count("\n") + 1 for r in records) == dmesg.count(b"\n")
        assert '"vmcore-kern", "size": null' in (mnt / "summary.json").read_text()
        assert (mnt / "vmcore-kern").stat().st_size
        assert (mnt / "filter-report").stat().st_size
        summary = json.loads((mnt / "summary.json").read_text())
        assert summary["panic"] == "Kernel panic - not syncing: sysrq triggered crash"
        assert summary["registers_agree"] is True
        for view in summary["views"]:
            assert view["size"] == (mnt / view["name"]).stat().st_size
        cpus = sorted(path.name for path in (mnt / "cpu").iterdir())
        assert len(cpus) == summary["cpus"]
        rip = re.search(r"rip +(0x[0-9a-f]{16})\n", (mnt / "cpu/0/registers").read_text())
        assert rip is not None
        with (mnt / "vmcore").open("rb") as vmcore:
            assert (mnt / "cpu/0/prstatus").read_bytes() in vmcore.read(0x3000)
    told = run(*OLDMEMFS, "--info", str(image(golden)))
    assert (told.returncode, told.stderr) == (0, "")
    assert "panic       Kernel panic - not syncing: sysrq triggered crash\n" in told.stdout


def test_a_wrecked_vmcoreinfo_stops_neither_vmcore_nor_summary(tmp_path: Path) -> None:
    data = crashed([Segment(LOAD, 0x20000, 0x4000)])
    at = bytes(data.data).index(b"OSRELEASE=")
    data.put(at, b"\xff" * 40)
    catalog = catalog_of(data.write(tmp_path / "ram"), f"elfcorehdr={HEADER:#x}")
    assert plan_of(catalog, "vmcore").size == 0x6000
    summary = text_of(catalog, "summary")
    assert "kernel      unknown\n" in summary
    assert "CPUs        2, 2 of them with registers\n" in summary
    assert "problem     log: " in summary
    assert "panic       unknown: the log could not be read\n" in summary
    assert json.loads(text_of(catalog, "summary.json"))["log_read"] is False
    assert re.search(r"dmesg +not available", summary)
    assert text_of(catalog, "cpu/1/registers").startswith("pid        2\n")


def test_an_offline_processor(tmp_path: Path) -> None:
    data = Image().put(NOTES, cpu_note(7) + bytes(12)).put(NOTES + 0x400, bytes(368))
    segments = [Segment(NOTE, NOTES, 368), Segment(NOTE, NOTES + 0x400, 368)]
    data.put(HEADER, Blob([*segments, Segment(LOAD, 0x20000, 0x1000)]).pack())
    catalog = catalog_of(data.write(tmp_path / "ram"), f"elfcorehdr={HEADER:#x}")
    assert "offline" in text_of(catalog, "cpu/1/registers")
    assert plan_of(catalog, "cpu/1/prstatus").size == 0
    assert read_all(plan_of(catalog, "cpu/0/prstatus"))[0] == cpu_note(7)
    assert json.loads(text_of(catalog, "summary.json"))["cpu_pids"] == [7, None]


def test_the_taint_is_looked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every stat and open of a summary writes it anew; the symbol table is a long search."""
    searches = []

    def search(*_: object) -> int:
        searches.append(1)
        raise FormatError("no table")

    monkeypatch.setattr(taint, "read_taint", search)
    monkeypatch.setattr(Dump, "kernel", None)
    data = crashed([Segment(LOAD, 0x20000, 0x4000)])
    catalog = catalog_of(data.write(tmp_path / "ram"), f"elfcorehdr={HEADER:#x}")
    problems = {str(catalog.dump.taint) for _ in range(2)}
    assert (problems, len(searches)) == ({"no table"}, 1)


def test_both_files_of_a_scan_are_known_when_it_has_ended(tmp_path: Path) -> None:
    """Also the one that nobody has asked for; progress ends at 100%, whatever was counted."""
    data = crashed([Segment(LOAD, 0x20000, 0x4000)])
    catalog = catalog_of(data.write(tmp_path / "ram"), f"elfcorehdr={HEADER:#x}")
    views = [v for v in catalog.views if isinstance(v, View) and v.scan]
    assert [catalog.outcome(view, wait=False) for view in views] == [None, None]
    assert catalog.outcome(views[0]) is not None
    assert None not in [catalog.outcome(view, wait=False) for view in views]
    scan = views[0].scan
    assert scan is not None
    watch = scan._watch = Watch()
    watch.total, watch.job.done = 10, 11
    assert scan.progress().endswith(" 100% done")
