# SPDX-License-Identifier: MIT
"""What one `pip install` brings besides the program: built from an sdist, into a clean place."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from support.mounting import run

from oldmemfs import cli, options

ROOT = Path(__file__).parents[1]
SHARE = [
    "bash-completion/completions/oldmemfs", "man/man5/oldmemfs.5", "man/man8/oldmemfs.8",
    "oldmemfs/debian/setup.sh",
    "zsh/site-functions/_oldmemfs",
]  # fmt: skip
OURS = [word.name for word in options.WORDS]


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel made from the sdist, and nothing else."""
    for module in ("scikit_build_core", "docutils", "cffi"):
        pytest.importorskip(module, reason=f"no {module} here for a build: pip install .[test]")
    work = tmp_path_factory.mktemp("package")
    build = (
        "import os, sys; from scikit_build_core import build\n"
        "os.chdir(sys.argv[1]); print(build.build_sdist(sys.argv[2]))"
    )
    made = run(sys.executable, "-c", build, str(ROOT), str(work), timeout=600)
    assert made.returncode == 0, made.stderr
    sdist = work / made.stdout.split()[-1]
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    done = run(
        *pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(work), str(sdist), timeout=600
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = work.glob("*.whl")
    venv.create(work / "venv")
    python = str(work / "venv/bin/python")
    done = run(*pip, "--python", python, "install", "--no-deps", str(wheel), timeout=600)
    assert done.returncode == 0, done.stderr
    return work / "venv"


def test_everything_is_there(prefix: Path) -> None:
    assert [name for name in SHARE if not (prefix / "share" / name).is_file()] == []
    assert os.access(prefix / "share/oldmemfs/debian/setup.sh", os.X_OK)
    others = sysconfig.get_path("platlib")  # cffi and the like
    told = run("env", f"PYTHONPATH={others}", str(prefix / "bin/oldmemfs"), "--version")
    assert told.stdout.startswith("oldmemfs 0."), told.stderr


@pytest.mark.parametrize("section", [5, 8])
def test_the_man_pages_are_clean(prefix: Path, section: int) -> None:
    if not shutil.which("groff"):
        pytest.skip("no groff here: apt-get install groff-base")
    page = prefix / f"share/man/man{section}/oldmemfs.{section}"
    done = run("groff", "-man", "-Tutf8", "-ww", "-z", str(page))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_man_page_knows_every_option(prefix: Path) -> None:
    page = (prefix / "share/man/man8/oldmemfs.8").read_text()
    plain = re.sub(r"\\f[BIRP]|\\", "", page)
    assert [name for name in OURS if not re.search(rf"\b{name}\b", plain)] == []
    assert [name for name in OURS if name not in cli.help_text()] == []


def test_the_readme_names_every_option() -> None:
    readme = (ROOT / "README.md").read_text().replace("\\|", "|")
    words = [w.name + "=" * bool(w.takes) + w.takes for w in options.WORDS]
    assert [word for word in words if f"`{word}`" not in readme] == []


def complete(prefix: Path, line: str) -> list[str]:
    script = prefix / "share/bash-completion/completions/oldmemfs"
    program = f"""compopt() {{ :; }}
source {script}
COMP_LINE={line!r} COMP_POINT={len(line)} COMP_WORDBREAKS=' ='
read -ra COMP_WORDS <<< "$COMP_LINE"
[[ $COMP_LINE == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_oldmemfs
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(
        ["bash", "-c", program], capture_output=True, text=True, check=True, cwd=prefix
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes(prefix: Path) -> None:
    if not shutil.which("bash"):
        pytest.skip("no bash here: apt-get install bash")
    assert complete(prefix, "oldmemfs --l") == ["--list"]
    assert complete(prefix, "oldmemfs x -o str") == ["strict"]
    assert complete(prefix, "oldmemfs x -o strict,cac") == [
        "strict,cache=none", "strict,cache=pages",
    ]  # fmt: skip
    assert complete(prefix, "oldmemfs x -o cache=p") == ["pages"]
    assert complete(prefix, "oldmemfs pyvenv") == ["pyvenv.cfg"]
    words = {word.split("=")[0] for word in complete(prefix, "oldmemfs x -o ")}
    assert words == set(OURS)


def test_zsh_completion_knows_every_option(prefix: Path) -> None:
    script = prefix / "share/zsh/site-functions/_oldmemfs"
    if shutil.which("zsh"):
        assert run("zsh", "-n", str(script)).returncode == 0
    assert set(re.findall(r"^ +'(\w+)\[", script.read_text(), re.MULTILINE)) == set(OURS)
