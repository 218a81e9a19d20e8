# SPDX-License-Identifier: MIT
"""--list and --info: many dumps, bad ones among them, and output that nobody takes."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.image import LOAD, Segment, crashed
from support.mounting import ENVIRONMENT, OLDMEMFS, PATIENCE, run
from support.recorded import each_golden, image

from oldmemfs.cli import _source
from oldmemfs.commands import show
from oldmemfs.options import parse

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def ram(tmp_path: Path) -> str:
    return crashed([Segment(LOAD, 0x20000, 0x4000)]).write(tmp_path / "ram.img")


def test_many_dumps_are_a_line_each_and_a_bad_one_does_not_end_it(ram: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad\n\u00e4"
    bad.write_bytes(b"QFI\xfb" + bytes(100))
    sources = [ram, "/absent", str(bad), ram]
    done = run(*OLDMEMFS, "--info", "--json", *sources)
    assert (done.returncode, done.stderr) == (1, "")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["source"] for one in told] == sources
    assert [one.get("error", "")[:29] for one in told] == [
        "", "/absent: there is no such fil", f"{bad}: this is a qcow2 disk image"[:29], ""
    ]  # fmt: skip
    assert told[0] == told[3]
    assert told[0]["release"] == "6.1.0-test"


def test_one_dump_as_json(ram: str) -> None:
    done = run(*OLDMEMFS, "--info", "--json", ram)
    assert done.returncode == 0
    assert json.loads(done.stdout)["machine"] == "x86_64"
    done = run(*OLDMEMFS, "--info", ram, ram)
    assert done.returncode == 2
    assert "--info takes one SOURCE; with --json it takes several" in done.stderr


def test_a_dump_that_kills_its_process_costs_a_line(
    ram: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    opened = show.open_catalog

    def killed(path: str | None, options: object) -> object:
        if path == "/deadly":
            os.kill(os.getpid(), 9)
        if path == "/broken":
            raise RecursionError("too deep")
        return opened(path, options)  # type: ignore[arg-type]

    monkeypatch.setattr(show, "open_catalog", killed)
    paths = ["/deadly", "/broken", ram]
    assert show.info(paths, parse([]), scan=False, as_json=True) == 1
    told = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [one["source"] for one in told] == paths
    assert told[0]["error"] == "reading it ended by signal 9"
    assert told[1]["error"] == "unexpected RecursionError: too deep"
    assert "error" not in told[2]


def test_more_dumps_than_descriptors(ram: str) -> None:
    limit = 40
    done = subprocess.run(
        [*OLDMEMFS, "--info", "--json", *[ram] * (limit + 5)],
        capture_output=True, text=True, check=False, timeout=PATIENCE, env=ENVIRONMENT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count('"release": "6.1.0-test"') == limit + 5


@each_golden
def test_info_says_what_takes_a_scan_and_scans_if_asked(golden: str) -> None:
    plain = run(*OLDMEMFS, "--info", image(golden)).stdout
    assert re.search(r"\nvmcore-kern +not scanned yet: a stat starts it  crash, drgn, gdb\n", plain)
    assert plain.endswith("\nadd --scan to learn the sizes that take a scan\n")
    scanned = run(*OLDMEMFS, "--info", "--scan", image(golden)).stdout
    assert re.search(r"\nvmcore-kern +[0-9]{8,9} \([0-9.]+ MiB\)  crash, drgn, gdb\n", scanned)
    assert "not scanned" not in scanned
    assert "--scan" not in scanned


@pytest.mark.parametrize(
    "words", [["--list"], ["--info"], ["--info", "--json"], ["--info", "--json", "SECOND"],
              ["--help"], ["--check"]],
)  # fmt: skip
def test_output_that_nobody_takes(ram: str, words: list[str]) -> None:
    """A pipe whose reader has gone ends it as SIGPIPE would; a full disk is one line."""
    source = [ram] if "--info" in words or "--list" in words else []
    command = [*OLDMEMFS, *(ram if word == "SECOND" else word for word in words), *source]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=PATIENCE,
        env=ENVIRONMENT, check=False,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE,
            env=ENVIRONMENT, check=False,
        )  # fmt: skip
    told = "oldmemfs: cannot write the output: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, told)


def test_only_a_file_is_taken_for_an_image_that_is_named_as_none_is(
    ram: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "oldmemfs").mkdir()
    (tmp_path / "none").symlink_to("/dev/null")
    for name in ("oldmemfs", "none", ""):
        assert _source(name) is None
    assert not caplog.records
    (tmp_path / "oldmemfs").rmdir()
    os.rename(ram, tmp_path / "oldmemfs")
    assert _source("oldmemfs") == "oldmemfs"
    assert caplog.messages == [f"the file {tmp_path}/oldmemfs is taken for the image"]
