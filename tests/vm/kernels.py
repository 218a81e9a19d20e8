# SPDX-License-Identifier: MIT
"""Debian's kernels, unpacked in the cache."""

from __future__ import annotations

import lzma
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .apt import Apt, cache_folder
from .tools import HostError, run

if TYPE_CHECKING:
    from pathlib import Path

# Kernel series -> the Debian suite that has it.
# "7" is what Debian has newest, as long as it is a 7.
SUITES = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "trixie", "7": "sid"}


class NoKernelError(HostError):
    """The archive has no such kernel, or none any more."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """One unpacked kernel package."""

    release: str
    root: Path

    @property
    def vmlinuz(self) -> Path:
        """The kernel to boot: beside its modules in newer packages; ppc64's is not compressed."""
        boot = self.root / "boot"
        places = (self.modules / "vmlinuz", boot / f"vmlinuz-{self.release}")
        found = [path for path in places if path.exists()]
        return found[0] if found else boot / f"vmlinux-{self.release}"

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


def fetch(
    series: str, *, refresh: bool = False, arch: str = "amd64", flavour: str = "cloud-amd64"
) -> Kernel:
    """The newest kernel of a series; one that is already in the cache is good enough."""
    if series not in SUITES:
        raise HostError(f"kernel {series}: known are {', '.join(SUITES)}")
    kernels = cache_folder() / "kernels"
    if not refresh and kernels.is_dir():
        names = [path.name for path in kernels.iterdir() if path.name.startswith(series + ".")]
        have = [name for name in names if re.search(rf"[0-9]-{flavour}$", name)]
        if have:
            newest = max(have, key=_order)
            return Kernel(newest, kernels / newest)
    apt = Apt(SUITES[series], arch)
    apt.update()
    release = _newest(apt, series, flavour)
    target = kernels / release
    if not target.is_dir():
        apt.unpack(target, *_packages(apt, release))
    return Kernel(release, target)


def _newest(apt: Apt, series: str, flavour: str) -> str:
    name = rf"^linux-image-{re.escape(series)}\.[0-9].*[0-9]-{flavour}$"
    text = run(["apt-cache", *apt.options, "search", "--names-only", name])
    releases: list[str] = re.findall(r"^linux-image-(\S+)", text, re.MULTILINE)
    if not releases:
        raise NoKernelError(f"no kernel {series} {flavour} in {apt.suite}")
    return max(releases, key=_order)


def _packages(apt: Apt, release: str) -> list[str]:
    """The kernel's package and, of newer kernels, those that hold its binary and its modules."""
    image = f"linux-image-{release}"
    return [image, *(name for name in apt.dependencies(image) if name.endswith(release))]


def _order(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", release))
