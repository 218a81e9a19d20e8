# SPDX-License-Identifier: MIT
"""The initramfs payload: alone in a root of its own it mounts, and it is small."""

from __future__ import annotations

import os
import re
import resource
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.image import HEADER, LOAD, Segment, crashed, vmcore_of
from support.mounting import OLDMEMFS, PATIENCE, is_mounted, needs_mount, run, wait_until

from oldmemfs.commands import payload

if TYPE_CHECKING:
    from collections.abc import Callable

PAYLOAD = [*OLDMEMFS, "--payload"]
MIB = 1 << 20
pytestmark = needs_mount


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The payload in a folder, with what a kernel would mount there."""
    folder = tmp_path_factory.mktemp("payload")
    done = run(*PAYLOAD, str(folder), timeout=600)
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("dev", "proc", "mnt", "tmp"):
        (folder / name).mkdir()
    return folder


def own_kib(smaps: str) -> int:
    """Memory of a process's own, in KiB: the image's windows are /dev/mem in a capture kernel."""
    areas = re.findall(r"^[0-9a-f]+-.*?(?=^[0-9a-f]+-|\Z)", smaps, re.MULTILINE | re.DOTALL)
    assert len(areas) > 20
    sizes = [re.search(r"^Rss:\s+(\d+)", area, re.MULTILINE) for area in areas]
    return sum(
        int(size[1]) for area, size in zip(areas, sizes, strict=True)
        if size and "ram.img" not in area.split("\n", 1)[0]
    )  # fmt: skip


def test_it_mounts_alone_fast_and_lean(
    root: Path, record_property: Callable[[str, object], None]
) -> None:
    image = crashed([Segment(LOAD, 0x100000, 0x500000)], size=8 << 20)
    image.write(root / "ram.img")
    script = """set -e
mount --bind /proc "$0/proc"
mount --rbind /dev "$0/dev"
exec chroot "$0" /usr/bin/oldmemfs /ram.img /mnt -f
"""
    daemon = subprocess.Popen(
        ["unshare", "-m", "--propagation", "slave", "sh", "-c", script, str(root)],
        stderr=subprocess.PIPE, text=True, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert daemon.stderr is not None
    try:
        seen = Path(f"/proc/{daemon.pid}/root")
        mounts = Path(f"/proc/{daemon.pid}/mountinfo")
        wait_until(lambda: " /mnt ro" in mounts.read_text() or daemon.poll() is not None)
        assert (seen / "mnt/vmcore").read_bytes() == vmcore_of(bytes(image.data), HEADER)
        assert own_kib(Path(f"/proc/{daemon.pid}/smaps").read_text()) < 40 << 10
        maps = Path(f"/proc/{daemon.pid}/maps").read_text()
        assert str(root) in maps
        foreign = [m for m in re.findall(r" (/\S+)$", maps, re.MULTILINE) if str(root) not in m]
        assert not foreign
    finally:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        daemon.terminate()
        assert daemon.wait(PATIENCE) == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        said = daemon.stderr.read()
        daemon.stderr.close()
    assert said == ""
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    record_property("measured", f"the payload, mounted and read: {used:.2f} s of processor time")
    assert used < 15
    assert not is_mounted(root / "mnt")


def test_mount_8_s_helper_is_known_by_its_name(root: Path) -> None:
    told = run("chroot", str(root), "/usr/sbin/mount.oldmemfs", "img", "/mnt", "-f")
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")
    told = run("chroot", str(root), "/usr/bin/oldmemfs", "--version")
    assert told.stdout.startswith("oldmemfs ")


def test_a_saved_core_is_one_clear_line(root: Path) -> None:
    (root / "core").write_bytes(b"\x7fELF" + bytes(4096))
    words = ("chroot", str(root), "/usr/bin/oldmemfs", "--list", "/core", "-o", "source=elf")
    told = run(*words)
    assert told.returncode == 1
    assert told.stderr == "oldmemfs: /core: a saved core needs pyelftools, which is not installed\n"


def test_it_holds_no_sources_and_no_openssl(root: Path) -> None:
    names = [path.name for path in root.rglob("usr/lib/oldmemfs/**/*")]
    assert not [name for name in names if name.endswith(".py")]
    assert not [name for name in names if name.startswith(("libssl", "libcrypto", "_ssl.c"))]
    assert "table.pyc" in names
    assert "dwarfinfo.pyc" not in names


def test_it_is_small(tmp_path: Path) -> None:
    archive = tmp_path / "oldmemfs.cpio.zst"
    done = run(*PAYLOAD, str(archive), timeout=600)
    assert done.returncode == 0, done.stderr
    assert archive.read_bytes()[:4].hex() == "28b52ffd"
    assert archive.stat().st_size < 12 * MIB
    assert done.stdout == f"{archive}: {archive.stat().st_size} bytes\n"


def test_the_kernels_own_format_of_xz(tmp_path: Path) -> None:
    """Its decompressor knows CRC32 as the only check; small, because xz -9e takes its time."""
    (tmp_path / "tree").mkdir()
    archive = tmp_path / "oldmemfs.cpio.xz"
    payload.Tree(tmp_path / "tree").pack(archive, payload._COMPRESSORS[".xz"])
    assert archive.read_bytes()[:8].hex() == "fd377a585a000001"  # magic, and CRC32
    listed = subprocess.run(["xz", "-dc", archive], capture_output=True, check=True).stdout
    assert b"usr/sbin" in listed


def test_a_kernel_without_modules_here_is_one_clear_line(tmp_path: Path) -> None:
    done = run(*PAYLOAD, str(tmp_path), "--kernel", "0.0.0-none", timeout=600)
    assert done.returncode == 1
    assert done.stderr == "oldmemfs: /lib/modules/0.0.0-none: no modules of kernel 0.0.0-none\n"


@pytest.mark.parametrize("words", [[], ["a", "b"], ["a", "--kernel"], ["a", "--colonel", "6.1"]])
def test_a_usage_error_is_one_line(words: list[str]) -> None:
    done = run(*PAYLOAD, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"oldmemfs: --payload: .*; see oldmemfs --payload --help\n", done.stderr)
