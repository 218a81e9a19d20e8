# SPDX-License-Identifier: MIT
"""Debian packages: found and fetched by apt in a private folder, unpacked, never installed."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from .tools import HostError, run

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def cache_folder() -> Path:
    """Where kernels are kept: OLDMEMFS_VM_CACHE, or a folder in the user's cache."""
    chosen = os.environ.get("OLDMEMFS_VM_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "oldmemfs-vm"


class Apt:
    """apt with lists and sources of its own; nothing of the host's set-up is changed."""

    def __init__(self, suite: str, arch: str = "amd64") -> None:
        self.suite, self.arch = suite, arch
        self.home = cache_folder() / "apt" / (suite if arch == "amd64" else f"{suite}-{arch}")
        self.options = [
            word
            for setting in (
                f"Dir::State::lists={self.home / 'lists'}",
                f"Dir::State::status={self.home / 'status'}",
                f"Dir::Cache={self.home / 'cache'}",
                f"Dir::Etc::sourcelist={self.home / 'sources.list'}",
                "Dir::Etc::sourceparts=-",
                f"APT::Architecture={arch}",
                f"APT::Architectures={arch}",
                "APT::Sandbox::User=root",
                "Acquire::Languages=none",
                "Acquire::Retries=3",
                # A mirror's sid may be weeks behind; the signatures are checked all the same.
                "Acquire::Check-Valid-Until=false",
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
            raise HostError("the host's apt knows no Debian archive")
        keys = f" signed-by={_KEYRING}" if _KEYRING.exists() else ""
        # sid has no security archive; mirrors of it often lag behind for the other architectures.
        if self.suite == "sid" or self.arch != "amd64":
            addresses = [address for address in addresses if "security" not in address]
        return "".join(
            f"deb [arch={self.arch}{keys}] {address}"
            f" {self.suite}{'-security' if 'security' in address else ''} main\n"
            for address in addresses
        )

    def unpack(self, target: Path, *packages: str) -> None:
        """Lay packages over each other in a new folder."""
        work = target.with_name(f"unpack-{os.getpid()}")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        try:
            run(["apt-get", *self.options, "-q", "download", *packages], cwd=work)
            for archive in work.glob("*.deb"):
                run(["dpkg-deb", "-x", archive, work / "root"])
            (work / "root").rename(target)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def dependencies(self, package: str) -> list[str]:
        """The packages that a package cannot do without."""
        text = run(["apt-cache", *self.options, "depends", "--important", package])
        return re.findall(r"^  (?:Pre)?Depends: ([^<\s]+)$", text, re.MULTILINE)
