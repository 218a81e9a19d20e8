"""Debian kernels: found and fetched by apt in a private folder, unpacked, never installed."""

from __future__ import annotations

import lzma
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from .tools import HostError, run

# Kernel series -> the Debian suite that has it.
SUITES = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "trixie"}

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True, slots=True)
class Kernel:
    """One unpacked kernel package."""

    release: str
    root: Path

    @property
    def vmlinuz(self) -> Path:
        return self.root / "boot" / f"vmlinuz-{self.release}"

    @property
    def modules(self) -> Path:
        for lib in ("usr/lib", "lib"):
            folder = self.root / lib / "modules" / self.release
            if folder.is_dir():
                return folder
        raise HostError(f"{self.root}: no modules of {self.release}")

    def module(self, name: str) -> bytes | None:
        """The module's bytes, unpacked; None when it is built into the kernel."""
        builtin = (self.modules / "modules.builtin").read_text()
        if re.search(rf"/{re.escape(name)}\.ko$", builtin, re.MULTILINE):
            return None
        for path in self.modules.rglob(f"{name}.ko*"):
            data = path.read_bytes()
            return lzma.decompress(data) if path.suffix == ".xz" else data
        raise HostError(f"{self.modules}: no module {name}")


def cache_folder() -> Path:
    """Where kernels are kept: OLDMEMFS_VM_CACHE, or a folder in the user's cache."""
    chosen = os.environ.get("OLDMEMFS_VM_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "oldmemfs-vm"


def fetch(series: str, *, refresh: bool = False) -> Kernel:
    """The newest cloud kernel of a series; one that is already in the cache is good enough."""
    if series not in SUITES:
        raise HostError(f"kernel {series}: known are {', '.join(SUITES)}")
    kernels = cache_folder() / "kernels"
    if not refresh and kernels.is_dir():
        have = [path.name for path in kernels.iterdir() if path.name.startswith(series + ".")]
        if have:
            newest = max(have, key=_order)
            return Kernel(newest, kernels / newest)
    apt = _Apt(SUITES[series])
    apt.update()
    release = apt.newest(series)
    target = kernels / release
    if not target.is_dir():
        apt.unpack(f"linux-image-{release}", target)
    return Kernel(release, target)


class _Apt:
    """apt with lists and sources of its own; nothing of the host's set-up is changed."""

    def __init__(self, suite: str) -> None:
        self.suite = suite
        self.home = cache_folder() / "apt" / suite
        self.options = [
            word
            for setting in (
                f"Dir::State::lists={self.home / 'lists'}",
                f"Dir::State::status={self.home / 'status'}",
                f"Dir::Cache={self.home / 'cache'}",
                f"Dir::Etc::sourcelist={self.home / 'sources.list'}",
                "Dir::Etc::sourceparts=-",
                "APT::Architecture=amd64",
                "APT::Architectures=amd64",
                "APT::Sandbox::User=root",
                "Acquire::Languages=none",
            )
            for word in ("-o", setting)
        ]

    def update(self) -> None:
        for folder in ("lists/partial", "cache/archives/partial"):
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        (self.home / "status").touch()
        (self.home / "sources.list").write_text(self._sources())
        run(["apt-get", *self.options, "--error-on=any", "-q", "update"])

    def _sources(self) -> str:
        """The host's own Debian archives, with another suite's name."""
        text = run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"])
        addresses = sorted(set(re.findall(r"^\S+/debian(?:-security)?/?$", text, re.MULTILINE)))
        if not addresses:
            raise HostError("the host's apt knows no Debian archive to take kernels from")
        keys = f" signed-by={_KEYRING}" if _KEYRING.exists() else ""
        return "".join(
            f"deb [arch=amd64{keys}] {address}"
            f" {self.suite}{'-security' if 'security' in address else ''} main\n"
            for address in addresses
        )

    def newest(self, series: str) -> str:
        name = rf"^linux-image-{re.escape(series)}\.[0-9].*-cloud-amd64$"
        text = run(["apt-cache", *self.options, "search", "--names-only", name])
        releases: list[str] = re.findall(r"^linux-image-(\S+)", text, re.MULTILINE)
        if not releases:
            raise HostError(f"no cloud kernel {series} in {self.suite}")
        return max(releases, key=_order)

    def unpack(self, package: str, target: Path) -> None:
        work = target.with_name(f"unpack-{os.getpid()}")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        try:
            run(["apt-get", *self.options, "-q", "download", package], cwd=work)
            (archive,) = work.glob("*.deb")
            run(["dpkg-deb", "-x", archive, work / "root"])
            (work / "root").rename(target)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _order(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", release))
