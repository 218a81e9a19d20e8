# SPDX-License-Identifier: MIT
"""Programs of any suite and architecture: from Debian packages, with libraries and loader."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

from .apt import Apt, cache_folder
from .tools import HostError

if TYPE_CHECKING:
    from collections.abc import Iterable

LOADER = "ld.so"  # runs each of them: ld.so --library-path FOLDER FOLDER/PROGRAM


def fetch(
    suite: str, arch: str, package: str, programs: Iterable[str], *, refresh: bool = False
) -> Path:
    """A folder with programs of one package, what they are linked to, and their loader."""
    target = cache_folder() / "programs" / f"{package}-{suite}-{arch}"
    if target.is_dir() and not refresh:
        return target
    work = target.with_name(f"{target.name}-{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        roots = _unpacked(Apt(suite, arch), package, work)
        _gather(roots, programs, work / "ready")
        shutil.rmtree(target, ignore_errors=True)
        (work / "ready").rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def _unpacked(apt: Apt, package: str, work: Path) -> list[Path]:
    """The roots of a package and of all libraries that it depends on."""
    apt.update()
    todo, roots = [package], dict[str, Path]()
    while todo:
        package = todo.pop()
        if package in roots:
            continue
        roots[package] = work / package
        apt.unpack(roots[package], package)
        todo += [name for name in apt.dependencies(package) if re.match(r"lib|zlib", name)]
    return list(roots.values())


def _gather(roots: list[Path], programs: Iterable[str], target: Path) -> None:
    # An absolute link would lead out of the packages, to the host's own file; share/ has hooks and
    # the like of the same name.
    files = {
        path.name: path
        for root in roots
        for path in root.rglob("*")
        if path.is_file()
        and path.resolve().is_relative_to(root.resolve())
        and "share" not in path.relative_to(root).parts
    }
    target.mkdir()
    todo = list(programs)
    while todo:
        name = todo.pop()
        if (target / name).exists():
            continue
        if name not in files:
            raise HostError(f"{name}: in none of the packages")
        shutil.copy(files[name], target / name)
        loader, libraries = _linked(files[name])
        todo += libraries
        if loader:
            shutil.copy(files[Path(loader).name], target / LOADER)


def _linked(path: Path) -> tuple[str, list[str]]:
    """The loader that a program names, and the libraries."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        segments = (s for s in elf.iter_segments("PT_INTERP") if isinstance(s, InterpSegment))
        loader = next((s.get_interp_name() for s in segments), "")
        dynamic = elf.get_section_by_name(".dynamic")
        tags = dynamic.iter_tags("DT_NEEDED") if isinstance(dynamic, DynamicSection) else ()
        return loader, [str(vars(tag)["needed"]) for tag in tags]  # pyelftools sets it by name
