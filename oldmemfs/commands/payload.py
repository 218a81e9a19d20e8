# SPDX-License-Identifier: MIT
"""``--payload``: exactly what oldmemfs needs at run time, as a folder or a cpio archive.

It is for an initramfs. The Python modules are found by tracing: a child process mounts a small test
image, reads it, and prints which modules it has imported. Python and its modules go to
/usr/lib/oldmemfs, so that they cannot collide with another Python in the initramfs; system
libraries keep their paths.
"""

from __future__ import annotations

import argparse
import json
import os
import py_compile
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ..errors import OldmemError, UsageError
from .output import put

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SAYS = "Gathers what oldmemfs needs at run time: Python, the modules, libfuse3, a shell."
HOME = "usr/lib/oldmemfs"
PYTHON = f"{HOME}/bin/python3"
LIBRARY = f"{HOME}/lib/python{sys.version_info[0]}.{sys.version_info[1]}"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SYSTEM = ("/lib", "/usr/lib", "/lib64", "/usr/lib64")
_LIBRARY_LINE = re.compile(r"^\s*(?P<name>\S+) => (?P<path>/\S+) \(", re.MULTILINE)
_LOADER_LINE = re.compile(r"^\s*(?P<path>/\S*/ld\S*) \(", re.MULTILINE)
_COMPRESSORS = {
    ".cpio": "cat",
    ".zst": "zstd -q -19 -T0 -c",
    ".xz": "xz -9e --check=crc32 -c",  # the kernel's xz decoder knows no other check
}

_LAUNCHERS = {
    f"{HOME}/python": f"""#!/bin/sh
LD_LIBRARY_PATH=/{HOME}/lib${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}
export LD_LIBRARY_PATH
exec /{PYTHON} -I -S "$@"
""",
    "usr/bin/oldmemfs": f"""#!/bin/sh
exec /{HOME}/python -m oldmemfs "$@"
""",
    # mount(8) looks for this program; oldmemfs recognises it by argv[0].
    "usr/sbin/mount.oldmemfs": f"""#!/bin/sh
exec /{HOME}/python -c 'import sys
sys.argv[0] = "mount.oldmemfs"
from oldmemfs.cli import main
sys.exit(main())' "$@"
""",
}

# The module ssl of the payload. trio imports ssl and refers to its classes, but oldmemfs never uses
# them; so OpenSSL can be left out.
SSL = '''"""Stands in for ssl, which trio imports and oldmemfs never uses."""


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (Exception,), {})
'''

# Modules that Python does not import at run time, because it is started with -S; and ssl.
_SITE = re.compile(
    r"__main__$|site$|sitecustomize$|usercustomize$|_distutils_hack|_editable|__editable|ssl$"
)


class _Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` that raises ``UsageError``, so that the message is one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"--payload: {message}; see oldmemfs --payload --help")


class PayloadError(OldmemError):
    """The payload cannot be made: a file is missing on this system, or a program failed."""


def need(program: str) -> Path:
    """The path of a program. The system's folders are searched before $PATH.

    Raises ``PayloadError`` if it is in neither.
    """
    found = shutil.which(program, path=_PATH) or shutil.which(program)
    if found is None:
        raise PayloadError(f"{program}: not found")
    return Path(found)


def run(command: Sequence[str | Path], **more: object) -> str:
    """The standard output of a program. Raises ``PayloadError`` if its exit status is not 0."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload]
    if done.returncode != 0:
        raise PayloadError(f"{words[0]}: exit {done.returncode}: {done.stderr.strip()[-2000:]}")
    return str(done.stdout)


class Tree:
    """A folder that becomes a root file system.

    The shared libraries that an added program needs are added with it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._linked: set[Path] = set()
        for folder in ("bin", "sbin", "lib", "lib64"):
            (root / "usr" / folder).mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(root / folder):
                (root / folder).symlink_to(f"usr/{folder}")

    def write(self, inside: str, data: bytes | str, mode: int = 0o644) -> None:
        """Add a file with these bytes at the path ``inside`` the tree."""
        target = self.root / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data.encode() if isinstance(data, str) else data)
        target.chmod(mode)

    def link(self, inside: str, to: str) -> None:
        """Add a symbolic link at ``inside``, unless the name exists already."""
        if not os.path.lexists(self.root / inside):
            (self.root / inside).symlink_to(to)

    def program(self, name: str, *, aliases: tuple[str, ...] = (), folder: str = "usr/bin") -> None:
        """Add a program of this system with its shared libraries, and links to it as aliases."""
        self.binary(need(name).resolve(), f"{folder}/{name}")
        for alias in aliases:
            self.link(f"{folder}/{alias}", name)

    def binary(self, source: Path, inside: str) -> None:
        """Add an ELF file, stripped, and the shared libraries that ldd lists for it.

        Raises ``PayloadError`` if one of them is not found.
        """
        target = self.root / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o755)
        if shutil.which("strip"):
            strip = ["strip", "--strip-unneeded", str(target)]
            subprocess.run(strip, check=False, stderr=subprocess.DEVNULL)
        done = subprocess.run(["ldd", str(source)], capture_output=True, text=True, check=False)
        if "not found" in done.stdout:
            raise PayloadError(f"{source}: {done.stdout.strip()}")
        if done.returncode == 0:  # ldd fails for a static program
            for found in _LIBRARY_LINE.finditer(done.stdout):
                self._library(Path(found["path"]), found["name"])
            for found in _LOADER_LINE.finditer(done.stdout):
                self._library(Path(found["path"]), Path(found["path"]).name)

    def library(self, name: str) -> None:
        """Add a library that is loaded with dlopen(3), which ldd does not list.

        Raises ``PayloadError`` if the dynamic loader does not know it.
        """
        table = run([need("ldconfig"), "-p"])
        found = re.search(rf"^\s*{re.escape(name)} \(.*64.*\) => (\S+)$", table, re.MULTILINE)
        if found is None:
            raise PayloadError(f"{name}: not known to the dynamic loader")
        self._library(Path(found[1]), name)

    def _library(self, path: Path, name: str) -> None:
        """Add a library: at its own path if that is a system folder, else in ``HOME``/lib."""
        if path in self._linked:
            return
        self._linked.add(path)
        plain = Path(os.path.normpath(path))
        own = not plain.is_relative_to("/lib64") and not str(plain).startswith(_SYSTEM)
        self.binary(path.resolve(), f"{HOME}/lib/{name}" if own else str(plain).lstrip("/"))

    def pack(self, target: Path, compressor: str) -> None:
        """Write the tree to ``target`` as a cpio archive, through the command ``compressor``."""
        names = "".join(f"{path.relative_to(self.root)}\n" for path in sorted(self.root.rglob("*")))
        cpio = [str(need("cpio")), "--quiet", "-o", "-H", "newc", "-R", "0:0"]
        with target.open("wb") as out, tempfile.TemporaryFile() as plain:
            subprocess.run(cpio, cwd=self.root, input=names.encode(), stdout=plain, check=True)
            plain.seek(0)
            subprocess.run(compressor.split(), stdin=plain, stdout=out, check=True)


def trace(*, also: Iterable[str] = (), paths: Iterable[Path] = ()) -> list[tuple[str, Path, bool]]:
    """Every module that a mount imports, and those of ``also``: (name, file, is a package).

    ``paths`` are put first in sys.path. All of oldmemfs's modules are imported; then an image is
    mounted, or, without root or /dev/fuse, listed.
    """
    can_mount = os.getuid() == 0 and os.access("/dev/fuse", os.R_OK | os.W_OK)
    with tempfile.TemporaryDirectory(prefix="oldmemfs-payload-") as work:
        program: list[str | Path] = [
            sys.executable,
            "-I",
            Path(__file__).with_name("payload_trace.py"),
            SSL,
        ]
        wanted = [json.dumps([str(path) for path in paths]), json.dumps(list(also))]
        session = "mount" if can_mount else "list"
        told = run([*program, *wanted, work, session], cwd="/", timeout=120)
    return [(n, Path(o), is_p) for n, o, is_p in json.loads(told) if not _SITE.match(n)]


def _module(tree: Tree, name: str, file: Path, is_package: bool) -> None:
    inside = Path(LIBRARY, *name.split("."))
    if file.suffix == ".so":
        dynload = not is_package and file.parent.name == "lib-dynload"
        place = Path(LIBRARY, "lib-dynload") if dynload else inside.parent
        tree.binary(file, str((inside if is_package else place) / file.name))
        return
    target = tree.root / (inside / "__init__.pyc" if is_package else inside.with_suffix(".pyc"))
    target.parent.mkdir(parents=True, exist_ok=True)
    py_compile.compile(str(file), cfile=str(target), dfile=f"{name}.py", doraise=True)


def gather(tree: Tree, *, also: Iterable[str] = (), paths: Iterable[Path] = ()) -> None:
    """Put into ``tree``: Python, the modules, libfuse3, oldmemfs, the mount helpers, a shell."""
    for name, file, is_package in trace(also=also, paths=paths):
        _module(tree, name, file, is_package)
        if name == "oldmemfs":
            _module(tree, "oldmemfs.__main__", file.with_name("__main__.py"), is_package=False)
    # Python finds its library folder by os.pyc in it, but imports os from inside the executable.
    _module(tree, "os", Path(sysconfig.get_path("stdlib"), "os.py"), is_package=False)
    (tree.root / LIBRARY / "lib-dynload").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        stub = Path(work, "ssl.py")
        stub.write_text(SSL)
        _module(tree, "ssl", stub, is_package=False)
    tree.binary(Path(sys.executable).resolve(), PYTHON)
    tree.library("libgcc_s.so.1")  # the C library loads it in pthread_exit
    for inside, text in _LAUNCHERS.items():
        tree.write(inside, text, 0o755)
    tree.program("mount.fuse3", aliases=("mount.fuse",), folder="usr/sbin")
    if not os.path.lexists(tree.root / "bin/sh"):
        tree.program("sh")


def fuse_module(tree: Tree, release: str) -> None:
    """Put fuse.ko of the kernel ``release`` into ``tree``, if FUSE is a module there.

    Raises ``PayloadError`` if this system has no modules of that kernel.
    """
    folder = Path("/lib/modules", release)
    if not folder.is_dir():
        raise PayloadError(f"{folder}: no modules of kernel {release}")
    for path in folder.rglob("fuse.ko*"):
        tree.write(str(path).lstrip("/"), path.read_bytes())
        for index in folder.glob("modules.*"):
            tree.write(str(index).lstrip("/"), index.read_bytes())


def main(words: Sequence[str]) -> int:
    """Run ``--payload`` with the arguments ``words``; returns 0.

    Raises ``PayloadError`` or ``UsageError``.
    """
    parser = _Parser(prog="oldmemfs --payload", description=_SAYS)
    parser.add_argument(
        "target", metavar="OUT", type=Path, help="a folder, or NAME.cpio, .cpio.zst, .cpio.xz"
    )
    parser.add_argument("--kernel", metavar="RELEASE", help="add that kernel's fuse.ko")
    parser.add_argument("--also", metavar="MODULE", action="append", default=[],
                        help="another Python module to put in")  # fmt: skip
    options = parser.parse_args(words)
    packed = options.target.suffix in _COMPRESSORS
    try:
        with tempfile.TemporaryDirectory(prefix="oldmemfs-payload-") as work:
            tree = Tree(Path(work) if packed else options.target)
            if options.kernel:
                fuse_module(tree, options.kernel)
            gather(tree, also=options.also)
            if packed:
                os.chmod(work, stat.S_IRWXU | 0o055)
                tree.pack(options.target, _COMPRESSORS[options.target.suffix])
                put(f"{options.target}: {options.target.stat().st_size} bytes\n")
    except (OSError, subprocess.SubprocessError) as error:
        raise PayloadError(str(error)) from error
    return 0
