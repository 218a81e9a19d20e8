# SPDX-License-Identifier: MIT
"""The dracut module: dracut itself makes an image with it, and what is in it runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.mounting import needs_mount, run

EXAMPLES = Path(__file__).parents[2] / "examples"
KERNEL = "1.2.3-test"
pytestmark = needs_mount


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked initramfs of a kernel that has one module, fuse."""
    base = Path("/usr/lib/dracut")
    for program in ("dracut", "depmod"):
        if not (shutil.which(program) or Path("/usr/sbin", program).exists()):
            pytest.skip(f"no {program} here: apt-get install dracut-core")
    if not any(Path(lib, "systemd/systemd").exists() for lib in ("/usr/lib", "/lib")):
        pytest.skip("no systemd here, which dracut's module of it needs: apt-get install systemd")
    work = tmp_path_factory.mktemp("dracut")
    shutil.copytree(base, work / "dracut", symlinks=True)
    shutil.copytree(EXAMPLES / "dracut/99oldmemfs", work / "dracut/modules.d/99oldmemfs")
    prefix = work / "prefix"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "share").mkdir()
    (prefix / "share/oldmemfs").symlink_to(EXAMPLES)
    launcher = prefix / "bin/oldmemfs"
    launcher.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m oldmemfs "$@"\n')
    launcher.chmod(0o755)
    modules = work / "lib/modules" / KERNEL
    modules.mkdir(parents=True)
    for name in ("modules.builtin", "modules.order"):
        (modules / name).write_text("kernel/fs/fuse/fuse.ko\n" if "builtin" in name else "")
    assert run("/sbin/depmod", "-b", str(work), KERNEL).returncode == 0
    done = subprocess.run(
        ["dracut", "-f", "--no-hostonly", "--no-compress", "--no-early-microcode",
         "--kver", KERNEL, "--kmoddir", modules, "-m", "base systemd oldmemfs",
         "--tmpdir", work, "--keep", work / "image"],
        env={**os.environ, "dracutbasedir": str(work / "dracut"), "IN_KDUMP": "1",
             "OLDMEMFS_PREFIX": str(prefix)},
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "oldmemfs: " not in done.stdout + done.stderr
    (root,) = work.glob("dracut.*/initramfs")
    return root


def test_it_holds_the_program_and_its_service(image: Path) -> None:
    assert run("chroot", str(image), "/usr/bin/oldmemfs", "--version").stdout.startswith("oldmemfs")
    (unit,) = image.rglob("system/oldmemfs.service")
    assert "bind=vmcore-kern" in unit.read_text()
    wanted = [path for path in image.rglob("initrd.target.wants/*") if path.name == unit.name]
    assert wanted
    collector = "/usr/lib/dracut/modules.d/99oldmemfs/save-vmcore.sh"
    assert f"core_collector {collector}\n" in (EXAMPLES / "kdump.conf").read_text()
    for program in (collector, "cp", "dirname", "grep", "rm"):
        assert run("chroot", str(image), "/bin/sh", "-c", f"type {program}").returncode == 0
    for program in ("mount", "umount", "modprobe", "mount.fuse3", "mount.oldmemfs"):
        assert run("chroot", str(image), "/bin/sh", "-c", f"type {program}").returncode == 0
