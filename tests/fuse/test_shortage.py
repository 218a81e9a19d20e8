# SPDX-License-Identifier: MIT
"""Few descriptors, little memory, closed standard files: it serves, or says why in one line."""

from __future__ import annotations

import errno
import resource
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from support.crash import Crash
from support.crash_arch import X86_64
from support.mounting import (
    ENVIRONMENT,
    OLDMEMFS,
    PATIENCE,
    is_mounted,
    needs_mount,
    run,
    wait_until,
)
from support.served import write_core

from oldmemfs.errors import FormatError, ShortageError, shortage
from oldmemfs.filter import filtered
from oldmemfs.filter.scan import Scan
from oldmemfs.maps import pagemask
from oldmemfs.maps.layout import Layout
from oldmemfs.maps.plan import Plan
from oldmemfs.views.catalog import Catalog, View
from oldmemfs.views.unreadable import BadPages

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


# -- closed standard files ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    path = str(tmp_path_factory.mktemp("core") / "core")
    return path, write_core(path)["vmcore"]


def start(closed: tuple[int, ...], *words: str) -> subprocess.CompletedProcess[bytes]:
    """The program without these descriptors, as init starts it where there is no console."""
    redirections = " ".join(f"{fd}>&-" for fd in closed)
    pipe = subprocess.PIPE
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirections}', "sh", *OLDMEMFS, *words],
        stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=ENVIRONMENT, timeout=PATIENCE,
        check=False,
    )  # fmt: skip


SOME_CLOSED = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]


@pytest.mark.mount
@pytest.mark.parametrize("reads", ["c", "python"])
@pytest.mark.parametrize("closed", SOME_CLOSED, ids=str)
def test_closed_standard_files(
    core: tuple[str, bytes], tmp_path: Path, closed: tuple[int, ...], reads: str
) -> None:
    """In the background: the image's descriptor is none of those that are given to /dev/null."""
    for mark in needs_mount[1:]:
        if mark.args[0]:
            pytest.skip(mark.kwargs["reason"])
    done = start(closed, core[0], str(tmp_path), "-o", f"reads={reads}")
    try:
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr + done.stdout
        assert (tmp_path / "vmcore").read_bytes() == core[1]
    finally:
        assert run("umount", str(tmp_path)).returncode == 0


@pytest.mark.parametrize("closed", SOME_CLOSED, ids=str)
@pytest.mark.parametrize("words", [["--info", "CORE"], ["--list", "CORE"], ["--wrong"]])
def test_closed_standard_files_without_a_mount(
    core: tuple[str, bytes], closed: tuple[int, ...], words: list[str]
) -> None:
    words = [core[0] if word == "CORE" else word for word in words]
    done, wanted = start(closed, *words), start((), *words)
    assert done.returncode == wanted.returncode
    assert done.stdout == (b"" if 1 in closed else wanted.stdout)
    assert done.stderr == (b"" if 2 in closed else wanted.stderr)


# -- few descriptors, little memory -------------------------------------------------------------


def limited(kind: int, value: int, *words: str) -> subprocess.CompletedProcess[str]:
    """The program under a limit."""
    return subprocess.run(
        [*OLDMEMFS, *words], capture_output=True, text=True, env=ENVIRONMENT, check=False,
        timeout=PATIENCE, preexec_fn=lambda: resource.setrlimit(kind, (value, value)),
    )  # fmt: skip


def assert_served_or_said(done: subprocess.CompletedProcess[str], mnt: Path, wanted: bytes) -> bool:
    """It is mounted and right, or nothing is left mounted and one line says why.

    A daemon that was mounted may also have to give up later, or answer with an error.
    """
    try:
        if done.returncode == 0:
            assert done.stderr.count("\n") <= 2, done.stderr  # what is wrong with the core itself
            try:
                assert (mnt / "vmcore").read_bytes() == wanted
                assert (mnt / "status").read_text().startswith("oldmemfs")
                return True
            except OSError as error:
                if error.errno in (errno.ENOTCONN, errno.ECONNABORTED, errno.ENOENT):
                    wait_until(lambda: not is_mounted(mnt))
                return False
        assert done.stderr.startswith("oldmemfs: "), done.stderr
        assert "Traceback" not in done.stderr
        assert not is_mounted(mnt)
        return False
    finally:
        if is_mounted(mnt):
            run("umount", "-l", str(mnt))


@pytest.mark.mount
@pytest.mark.parametrize("reads", ["c", "python"])
def test_few_descriptors(core: tuple[str, bytes], tmp_path: Path, reads: str) -> None:
    served = [
        assert_served_or_said(
            limited(resource.RLIMIT_NOFILE, count, core[0], str(tmp_path), "-o", f"reads={reads}"),
            tmp_path,
            core[1],
        )
        for count in (5, 6, 8, 12, 16, 20, 24, 28, 31, 32, 33, 40, 64)
    ]
    assert served == sorted(served)
    assert served[0] is False
    assert served[-2:] == [True, True]


@pytest.mark.mount
def test_little_memory(core: tuple[str, bytes], tmp_path: Path) -> None:
    """Address space, in steps: from what Python itself just starts with to more than enough."""
    least = next(
        mib
        for mib in range(24, 400, 8)
        if limited(resource.RLIMIT_AS, mib << 20, "--version").returncode == 0
    )
    served = [
        assert_served_or_said(
            limited(resource.RLIMIT_AS, (least + more) << 20, core[0], str(tmp_path)),
            tmp_path,
            core[1],
        )
        for more in (0, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 256, 1024)
    ]
    assert served[-1]


# -- what is short now may not be short later ---------------------------------------------------


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "not enough memory"),
        (OSError(errno.EMFILE, "Too many open files"), "too many open files; raise ulimit -n"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "cannot allocate memory"),
        (RuntimeError("can't start new thread"), "no room for one more thread"),
        (ExceptionGroup("a nursery's", [ValueError(), MemoryError()]), "not enough memory"),
        (OSError(errno.EIO, "Input/output error"), None),
        (RuntimeError("another"), None),
        (FormatError("broken"), None),
    ],
)
def test_what_a_shortage_is(error: Exception, told: str | None) -> None:
    short = shortage(error)
    assert (short is None) == (told is None)
    assert told is None or str(short).startswith(told)
    later = FormatError("made of it")
    later.__cause__ = error
    assert (shortage(later) is None) == (told is None)


def failing(errors: list[Exception]) -> Callable[[object], Layout]:
    def layout(_: object) -> Layout:
        if errors:
            raise errors.pop(0)
        return Layout()

    return layout


def test_a_view_is_tried_again_after_a_shortage() -> None:
    errors: list[Exception] = [MemoryError(), OSError(errno.EMFILE, "Too many open files")]
    nowhere = cast("Any", SimpleNamespace(windows=None))
    view = View("it", failing(errors), "nothing", memory=lambda _: nowhere)
    catalog = Catalog(cast("Any", SimpleNamespace()), [view], BadPages())
    for told in ("not enough memory", "too many open files"):
        with pytest.raises(ShortageError, match=told):
            catalog.plan(view)
        assert catalog.known(view) is None, "it is not kept"
        assert str(catalog.so_far(view)).startswith(told), "but status tells it"
    assert isinstance(catalog.plan(view), Plan)
    assert isinstance(catalog.so_far(view), Plan)


def test_a_scan_is_tried_again_after_a_shortage(monkeypatch: pytest.MonkeyPatch) -> None:
    crash = Crash(X86_64, fill={"flags": 1})
    crash.lines.pop("SIZE(page)")
    kernel, nothing = crash.kernel(), SimpleNamespace(loads=())
    dump = cast("Any", SimpleNamespace(kernel=kernel, header=nothing, notes=b""))
    scan = Scan(31)
    with monkeypatch.context() as patch:
        patch.setattr(filtered, "memory_map", lambda _: pagemask.PageMask([], 12, spare=-1))
        with pytest.raises(ShortageError, match="are left"):
            scan.result(dump)
    assert not scan.finished
    for _ in range(2):
        with pytest.raises(FormatError, match="SIZE"):
            scan.result(dump)
        assert scan.finished, "what is wrong with the dump itself is kept"
