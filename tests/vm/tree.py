"""A folder that becomes an initramfs: files are put in, shared libraries follow by themselves."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from .tools import HostError, find, need, run

_LIBRARY = re.compile(r"^\s*(?P<name>\S+) => (?P<path>/\S+) \(", re.MULTILINE)
_LOADER = re.compile(r"^\s*(?P<path>/\S*/ld-\S+) \(", re.MULTILINE)


class Tree:
    """The root folder of an emulated machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._linked: set[Path] = set()
        for folder in ("dev", "proc", "sys", "run", "tmp", "mnt/dump", "usr/bin", "lib", "etc"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for link in ("bin", "sbin", "usr/sbin"):
            (root / link).symlink_to("/usr/bin")

    def copy_of(self, root: Path) -> Tree:
        """The same tree in another folder, to be grown separately."""
        shutil.copytree(self.root, root, symlinks=True)
        twin = Tree.__new__(Tree)
        twin.root = root
        twin._linked = set(self._linked)
        return twin

    def write(self, inside: str, data: bytes | str, mode: int = 0o644) -> None:
        target = self.root / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data.encode() if isinstance(data, str) else data)
        target.chmod(mode)

    def link(self, inside: str, to: str) -> None:
        (self.root / inside).symlink_to(to)

    def program(self, name: str, *, aliases: tuple[str, ...] = ()) -> None:
        """A host program in /usr/bin, with what it is linked to."""
        self.binary(need(name).resolve(), f"usr/bin/{name}")
        for alias in aliases:
            self.link(f"usr/bin/{alias}", name)

    def binary(self, source: Path, inside: str) -> None:
        """A program or an extension module, stripped, with the libraries it is linked to."""
        self._stripped(source, inside)
        self._follow(source)

    def busybox(self, applets: tuple[str, ...]) -> None:
        self.program("busybox", aliases=applets)

    def library(self, name: str) -> None:
        """A library that is only opened at run time, so that ldd does not show it."""
        table = run([find("ldconfig") or "/sbin/ldconfig", "-p"])
        found = re.search(rf"^\s*{re.escape(name)} \(.*x86-64.*\) => (\S+)$", table, re.MULTILINE)
        if found is None:
            raise HostError(f"{name}: not known to the dynamic loader")
        self._add_library(Path(found[1]), name)

    def _stripped(self, source: Path, inside: str) -> None:
        target = self.root / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o755)
        strip = ["strip", "--strip-unneeded", str(target)]
        subprocess.run(strip, check=False, stderr=subprocess.DEVNULL)

    def _follow(self, source: Path) -> None:
        done = subprocess.run(["ldd", str(source)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return  # a static program
        if "not found" in done.stdout:
            raise HostError(f"{source}: {done.stdout.strip()}")
        for found in _LIBRARY.finditer(done.stdout):
            self._add_library(Path(found["path"]), found["name"])
        for found in _LOADER.finditer(done.stdout):
            loader = Path(found["path"])
            self._add_library(loader, loader.name)
            (self.root / "lib64").mkdir(exist_ok=True)
            if not (self.root / "lib64" / loader.name).is_symlink():
                self.link(f"lib64/{loader.name}", f"/lib/{loader.name}")

    def _add_library(self, path: Path, name: str) -> None:
        if path in self._linked:
            return
        self._linked.add(path)
        self._stripped(path.resolve(), f"lib/{name}")

    def pack(self, target: Path, *, compress: bool) -> None:
        """The tree as an initramfs."""
        names = "".join(f"{path.relative_to(self.root)}\n" for path in sorted(self.root.rglob("*")))
        with target.open("wb") as out:
            subprocess.run(
                ["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"],
                cwd=self.root,
                input=names.encode(),
                stdout=out,
                check=True,
            )
        if compress:
            run(["zstd", "-q", "-f", "-6", "-T0", "--rm", target, "-o", f"{target}.zst"])
            Path(f"{target}.zst").rename(target)

    def size(self) -> int:
        """Bytes in all its files."""
        return sum(
            path.stat().st_size
            for path in self.root.rglob("*")
            if path.is_file() and not path.is_symlink()
        )
