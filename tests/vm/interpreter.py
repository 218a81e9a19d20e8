"""The running Python interpreter, a trimmed standard library and oldmemfs, put into a tree.

Everything importable lands in one folder of the tree, /usr/lib/pythonX.Y, as compiled files
without sources: third-party modules and the standard library side by side.
"""

from __future__ import annotations

import json
import py_compile
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .tools import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .tree import Tree

LIBRARY = f"usr/{sys.platlibdir}/python{sys.version_info[0]}.{sys.version_info[1]}"

# Left out of every package.
_TESTS = frozenset({"__pycache__", "_tests", "test", "tests"})
# Left out of the standard library, unless an import of oldmemfs reaches it.
_UNUSED = _TESTS | {
    "_pyrepl", "asyncio", "curses", "dbm", "dist-packages", "distutils", "ensurepip",
    "idlelib", "lib2to3", "msilib", "pydoc_data", "site-packages", "sqlite3", "tkinter",
    "turtledemo", "unittest", "venv", "wsgiref", "xmlrpc",
}  # fmt: skip
_UNUSED_STEMS = (
    "_codecs_", "_curses", "_dbm", "_decimal", "_elementtree", "_gdbm", "_multibytecodec",
    "_sqlite3", "_sysconfigdata", "_test", "_tkinter", "_xx", "audioop", "nis.", "ossaudiodev",
    "pyexpat", "readline", "turtle", "xx",
)  # fmt: skip

_LAUNCHER = '#!/bin/sh\nexec /usr/bin/python3 -I -m oldmemfs "$@"\n'

# Imports every module of oldmemfs and says which files that took.
_PROBE = """
import importlib, json, pkgutil, sys
before = set(sys.modules)
import oldmemfs
for module in pkgutil.walk_packages(oldmemfs.__path__, "oldmemfs."):
    if not module.name.endswith(".__main__"):
        importlib.import_module(module.name)
found = []
for name, module in list(sys.modules.items()):
    spec = getattr(module, "__spec__", None)
    if name not in before and spec is not None and spec.has_location:
        found.append([name, spec.origin, list(spec.submodule_search_locations or ())])
print(json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class _Module:
    name: str
    file: Path
    folders: tuple[Path, ...]


def put_into(tree: Tree) -> None:
    """The interpreter, its library, oldmemfs with all it imports, and the `oldmemfs` command."""
    tree.binary(Path(sys.executable).resolve(), "usr/bin/python3")
    stdlib = Path(sysconfig.get_path("stdlib"))
    for path in _files(stdlib, _UNUSED):
        if not path.name.startswith(_UNUSED_STEMS):
            _install(tree, path, Path(LIBRARY) / path.relative_to(stdlib))
    for module in _imported():
        if _in_stdlib(module.file, stdlib):
            _install(tree, module.file, Path(LIBRARY) / module.file.relative_to(stdlib))
        else:
            _add_module(tree, module)
    # Opened by the C library when a thread ends.
    tree.library("libgcc_s.so.1")
    tree.write("usr/bin/oldmemfs", _LAUNCHER, 0o755)


def add_package(tree: Tree, folder: Path, name: str) -> None:
    """A pure Python package, such as the checks that run inside the machine."""
    for path in _files(folder, _TESTS):
        _install(tree, path, Path(LIBRARY, name) / path.relative_to(folder))


def _add_module(tree: Tree, module: _Module) -> None:
    """The module's own file; of a top-level package every file, imported yet or not."""
    inside = Path(LIBRARY, *module.name.split("."))
    if "." not in module.name:
        for folder in module.folders:
            add_package(tree, folder, module.name)
    parent = inside if module.folders else inside.parent
    _install(tree, module.file, parent / module.file.name)


def _imported() -> Iterator[_Module]:
    for name, origin, folders in json.loads(run([sys.executable, "-c", _PROBE], cwd=Path("/"))):
        yield _Module(name, Path(origin), tuple(Path(folder) for folder in folders))


def _in_stdlib(file: Path, stdlib: Path) -> bool:
    if not file.is_relative_to(stdlib):
        return False
    return not {"site-packages", "dist-packages"} & set(file.relative_to(stdlib).parts)


def _files(folder: Path, skipped: frozenset[str]) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in skipped or path.name.startswith("config-"):
            continue
        if path.is_dir():
            yield from _files(path, skipped)
        elif path.suffix in (".py", ".so"):
            yield path


def _install(tree: Tree, source: Path, inside: Path) -> None:
    target = tree.root / inside
    if source.suffix == ".so":
        if not target.exists():
            tree.binary(source, str(inside))
        return
    target = target.with_suffix(".pyc")
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # A compiled file without its source is loaded as it is, so the host's own serves as well.
    ready = source.parent / "__pycache__" / f"{source.stem}.{sys.implementation.cache_tag}.pyc"
    if ready.exists() and ready.stat().st_mtime >= source.stat().st_mtime:
        shutil.copyfile(ready, target)
    else:
        py_compile.compile(str(source), cfile=str(target), doraise=True)
