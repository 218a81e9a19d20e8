"""The makedumpfile that follows a kernel: Debian's package of it, with libraries of its own suite.

1.7.2 is right up to 6.1. On 6.12 only 1.7.7 and later are: 1.7.6 finds no free page there.
From 7.1 on those up to 1.7.9 drop tails of compound pages that are the kernel's.
"""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING

from .apt import Apt, cache_folder
from .tools import HostError, run

if TYPE_CHECKING:
    from pathlib import Path

# Kernel series -> the Debian suite whose makedumpfile follows it.
SUITES = {"5.10": "bookworm", "6.1": "bookworm", "6.12": "sid", "7": "sid"}

_PACKAGE = "makedumpfile"
_LOADER = "ld-linux-x86-64.so.2"


def fetch(series: str, *, refresh: bool = False) -> Path:
    """A folder with the program, its libraries and their loader, `ld.so`."""
    suite = SUITES[series]
    target = cache_folder() / "oracles" / suite
    if target.is_dir() and not refresh:
        return target
    work = target.with_name(f"{suite}-{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        _gather(unpacked(Apt(suite), _PACKAGE, work), work / "ready")
        shutil.rmtree(target, ignore_errors=True)
        (work / "ready").rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def unpacked(apt: Apt, package: str, work: Path) -> list[Path]:
    """The roots of a package and of all libraries that it depends on."""
    apt.update()
    todo, roots = [package], dict[str, "Path"]()
    while todo:
        package = todo.pop()
        if package in roots:
            continue
        roots[package] = work / package
        apt.unpack(roots[package], package)
        todo += [name for name in apt.dependencies(package) if re.match(r"lib|zlib", name)]
    return list(roots.values())


def _gather(roots: list[Path], target: Path) -> None:
    # An absolute link would lead out of the packages, to the host's own file.
    files = {
        path.name: path
        for root in roots
        for path in root.rglob("*")
        if path.is_file() and path.resolve().is_relative_to(root.resolve())
    }
    if _PACKAGE not in files or _LOADER not in files:
        raise HostError(f"{_PACKAGE}: its packages have no {_PACKAGE} or no {_LOADER}")
    folders = ":".join(sorted({str(path.parent) for name, path in files.items() if ".so" in name}))
    listed = run([files[_LOADER], "--library-path", folders, "--list", files[_PACKAGE]])
    target.mkdir()
    for name, path in re.findall(r"^\s*([^/\s]+) => (/\S+) \(", listed, re.MULTILINE):
        shutil.copy(path, target / name)
    shutil.copy(files[_LOADER], target / "ld.so")
    shutil.copy(files[_PACKAGE], target / _PACKAGE)
