"""Debian's cloud kernels, unpacked in the cache."""

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
SUITES = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "trixie"}


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
    apt = Apt(SUITES[series])
    apt.update()
    release = _newest(apt, series)
    target = kernels / release
    if not target.is_dir():
        apt.unpack(f"linux-image-{release}", target)
    return Kernel(release, target)


def _newest(apt: Apt, series: str) -> str:
    name = rf"^linux-image-{re.escape(series)}\.[0-9].*-cloud-amd64$"
    text = run(["apt-cache", *apt.options, "search", "--names-only", name])
    releases: list[str] = re.findall(r"^linux-image-(\S+)", text, re.MULTILINE)
    if not releases:
        raise HostError(f"no cloud kernel {series} in {apt.suite}")
    return max(releases, key=_order)


def _order(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", release))
