# SPDX-License-Identifier: MIT
"""Every supported Python that is here: install from source, run the demo. Others are skipped."""

from __future__ import annotations

import os
import shutil
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.mounting import needs_mount, run

if TYPE_CHECKING:
    import subprocess

ROOT = Path(__file__).parents[2]
VERSIONS = [(3, minor) for minor in range(11, 15)]
PATIENCE = 1800.0  # pyfuse3 is compiled for each version


def interpreter(version: tuple[int, int]) -> str | None:
    """A Python of this version: from PATH, or of pyenv."""
    name = "python{}.{}".format(*version)
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    known = sorted(map(str, root.glob(f"versions/{name[6:]}.*/bin/{name}")))
    for path in (shutil.which(name), *known):
        # pyenv puts commands into PATH for versions that are not in use: they fail.
        if path and run(path, "-c", "import ensurepip, venv").returncode == 0:
            return path
    return None


def install(python: str, *words: str) -> subprocess.CompletedProcess[str]:
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    return run(*pip, *words, timeout=PATIENCE)


@needs_mount[0]
@needs_mount[1]
@pytest.mark.parametrize("version", VERSIONS, ids=lambda v: "{}.{}".format(*v))
def test_the_demo_on(version: tuple[int, int], tmp_path: Path) -> None:
    if version == sys.version_info[:2]:
        pytest.skip("all other tests run on this one")
    found = interpreter(version)
    if found is None:
        pytest.skip("no python{}.{} here, neither in PATH nor in ~/.pyenv".format(*version))
    assert run(found, "-m", "venv", str(tmp_path / "venv"), timeout=PATIENCE).returncode == 0
    python = str(tmp_path / "venv/bin/python")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    done = install(python, *needed, "cmake", "ninja")
    if done.returncode:
        pytest.skip(f"what oldmemfs needs cannot be installed: {done.stderr.splitlines()[-1:]}")
    build = f"build-dir={tmp_path}/build"
    done = install(python, "--no-deps", "--no-build-isolation", "-C", build, str(ROOT))
    assert done.returncode == 0, done.stderr
    done = run(python, "-P", str(ROOT / "examples/demo.py"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\nvmcore-kern: all ") == 1


def test_the_oldest_one_is_in_the_metadata() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">={}.{}".format(*VERSIONS[0])
