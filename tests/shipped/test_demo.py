# SPDX-License-Identifier: MIT
"""The demo: its session is always the same, and its checks find every kind of damage."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.demo_check import CHECKS, Mismatch
from support.demo_crash import DemoCrash, Kind
from support.marked import PAGE
from support.mounting import ENVIRONMENT, PATIENCE, mounted, needs_mount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXAMPLES = Path(__file__).parents[2] / "examples"
COPIED = ("vmcore", "vmcore-kern")
TEXTS = ("filter-report", "dmesg", "cpu/0/registers", "cpu/1/registers")


def session(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the demo with its temporary files in ``folder``, as if there were no test tools."""
    folder.mkdir()
    for name in ("pytest", "hypothesis"):
        (folder / f"{name}.py").write_text(f"raise ImportError('the demo imports {name}')\n")
    return subprocess.run(
        [sys.executable, "-P", str(EXAMPLES / "demo.py")], check=False, capture_output=True,
        env=ENVIRONMENT | {"PYTHONPATH": str(folder), "TMPDIR": str(folder)}, text=True,
        timeout=PATIENCE,
    )  # fmt: skip


@needs_mount[0]
@needs_mount[1]
def test_the_session(tmp_path: Path) -> None:
    first, second = (session(tmp_path / name) for name in ("a", "b"))
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == second.stdout
    told = first.stdout
    assert "cannot be read" not in told
    assert "problem" not in told
    listed = re.findall(r"^-r-------- .* (\d+) \w+ +\d+ +[\d:]+ (\S+)$", told, re.MULTILINE)
    named = {name: int(size) for size, name in listed}
    assert 0 < named["vmcore-kern"] < named["vmcore"] // 3
    assert min(named["filter-report"], named["dmesg"], named["dmesg.json"]) > 0
    for line in (
        "cause       the kernel used a NULL pointer (oops)",
        "blamed      CPU 1, pid 812 (backup)",
        "[86400.024660] Kernel panic - not syncing: Fatal exception",
        "rip        0xffffffffc0201012",
        f"100% of {named['vmcore-kern']} bytes",
        f"100% of {named['vmcore']} bytes",
        f"vmcore: {named['vmcore']} bytes, all of them right",
        "registers: 27 of each of 2 CPUs",
    ):
        assert f"\n{line}\n" in told
    assert [path for path in (tmp_path / "a").iterdir() if path.suffix != ".py"] == []


@pytest.fixture(scope="module")
def crash() -> DemoCrash:
    return DemoCrash()


@pytest.fixture(scope="module")
def copies(crash: DemoCrash, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the checks read, copied out of a mount."""
    folder = tmp_path_factory.mktemp("demo")
    crash.save(folder / "ram.img")
    with mounted(str(folder / "ram.img"), folder / "mnt"):
        for name in (*COPIED, *TEXTS):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / "mnt" / name, folder / name)
    return folder


@needs_mount[0]
@needs_mount[1]
def test_the_checks_pass(crash: DemoCrash, copies: Path) -> None:
    assert [check(crash, copies, copies).split(":")[0] for check in CHECKS] == [
        "vmcore", "vmcore-kern", "filter-report", "dmesg", "registers"
    ]  # fmt: skip


def _at(crash: DemoCrash, data: bytes, kind: Kind) -> Iterator[int]:
    """Where a core file has pages of this kind."""
    start, count = int.from_bytes(data[32:40], "little"), int.from_bytes(data[56:58], "little")
    for at in range(start, start + 56 * count, 56):
        offset, _, phys, size = (
            int.from_bytes(data[at + 8 + 8 * i : at + 16 + 8 * i], "little") for i in range(4)
        )
        if data[at] == 1:
            for place in range(0, size, PAGE):
                if crash.kinds[(phys + place) // PAGE] is kind:
                    yield offset + place


def spoil(kind: Kind) -> Callable[[DemoCrash, bytes], bytes]:
    """Another byte in the last page of this kind."""

    def change(crash: DemoCrash, data: bytes) -> bytes:
        at = list(_at(crash, data, kind))[-1] + 100
        return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]

    return change


def less(crash: DemoCrash, data: bytes) -> bytes:
    """Without the last page."""
    del crash
    return data[:-PAGE]


def more(crash: DemoCrash, data: bytes) -> bytes:
    """With a byte too many."""
    del crash
    return data + b"\n"


def emptied(crash: DemoCrash, data: bytes) -> bytes:
    """A core file that claims to have no program headers."""
    del crash
    return data[:56] + bytes(2) + data[58:]


def counted(crash: DemoCrash, data: bytes) -> bytes:
    """More free pages."""
    del crash
    return re.sub(rb"(Free pages +: 0x)0", rb"\g<1>1", data)


def digit(crash: DemoCrash, data: bytes) -> bytes:
    """Another last digit of the first number that has an 8 in it."""
    del crash
    return data.replace(b"8", b"7", 1)


@needs_mount[0]
@needs_mount[1]
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("vmcore", spoil(Kind.USER)), ("vmcore", less), ("vmcore", more),
        ("vmcore-kern", spoil(Kind.KERNEL)), ("vmcore-kern", spoil(Kind.USER)),
        ("vmcore-kern", less), ("vmcore-kern", emptied), ("filter-report", counted),
        ("dmesg", more), ("cpu/0/registers", digit), ("cpu/1/registers", digit),
    ],
)  # fmt: skip
def test_damage_is_found(
    crash: DemoCrash,
    copies: Path,
    tmp_path: Path,
    name: str,
    change: Callable[[DemoCrash, bytes], bytes],
) -> None:
    for other in (*COPIED, *TEXTS):
        (tmp_path / other).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / other).symlink_to(copies / other)
    (tmp_path / name).unlink()
    (tmp_path / name).write_bytes(change(crash, (copies / name).read_bytes()))
    found = []
    for check in CHECKS:
        try:
            check(crash, tmp_path, tmp_path)
        except Mismatch as error:
            found.append(str(error).split(":")[0])
    assert found == [name]


@needs_mount[0]
@needs_mount[1]
def test_what_differs_ends_it_unmounted(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    spec = importlib.util.spec_from_file_location("demo", EXAMPLES / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    demo = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", [*sys.path])
    spec.loader.exec_module(demo)

    def differs(*_: object) -> str:
        raise Mismatch("dmesg: not what the kernel printed")

    monkeypatch.setattr(demo, "CHECKS", (differs,))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    here = os.getcwd()
    assert demo.main() == 1
    assert (os.getcwd(), list(tmp_path.iterdir())) == (here, [])
    told = capfd.readouterr()
    assert told.err == "demo: dmesg: not what the kernel printed\n"
    assert told.out.endswith(" dump\n")


TOOLS = {
    "dpkg-query": "echo install ok installed",
    "python3": """[ "$1" != -m ] || { mkdir -p .venv/bin; cp "$0.pip" .venv/bin/pip; }""",
    "python3.pip": """echo "noise of pip: $*"; exit "${PIP_STATUS-0}" """,
}


@pytest.mark.parametrize("status", [0, 3])
def test_the_set_up_is_quiet_unless_it_fails(tmp_path: Path, status: int) -> None:
    (tmp_path / "examples").mkdir()
    shutil.copy(EXAMPLES / "setup.sh", tmp_path / "examples")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in TOOLS.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    done = subprocess.run(
        ["sh", str(tmp_path / "examples/setup.sh"), ".[test]"], check=False, capture_output=True,
        env={"PATH": f"{tools}:{os.defpath}", "PIP_STATUS": str(status), "TMPDIR": str(tmp_path)},
        text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (status, "")
    words = "install --quiet --disable-pip-version-check .[test]"
    noise = f"noise of pip: {words}\nfailed: .venv/bin/pip {words}\n" if status else ""
    assert done.stderr == f"building oldmemfs into .venv\n{noise}"
    assert {path.name for path in tmp_path.iterdir()} == {".venv", "examples", "tools"}
