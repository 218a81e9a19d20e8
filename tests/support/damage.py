# SPDX-License-Identifier: MIT
"""Damage to real recorded crashes: what in them is worth to be hit, with what, and what must hold.

A case is a crash and a number, which chooses the blows (header, notes, page tables, mem_section,
struct pages, the log, the symbol table). The image is put right again behind it. Whatever is
broken, opening it gives a catalog or an ``OldmemError``, so does every view, and where neither
header nor notes were hit `vmcore` holds the bytes of the image.
"""

from __future__ import annotations

import collections
import contextlib
import os
import random
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from oldmemfs import views
from oldmemfs.errors import OldmemError
from oldmemfs.filter.memmap import memory_map
from oldmemfs.host.cmdline import elfcorehdr
from oldmemfs.maps.plan import Plan
from oldmemfs.options import Options
from oldmemfs.sources import open_source
from oldmemfs.views.catalog import Catalog, LiveView
from oldmemfs.views.unreadable import BadPages
from support import recorded
from support.budget import cpu_seconds_of, peak_of
from support.mounting import mounted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from oldmemfs.dump import Dump

PAGE = 4096
MIB = 1 << 20
CPU = 30.0  # seconds of processor time of a case; an undamaged one takes less than one
MEMORY = 400 * MIB  # of a daemon, mapped pages of the image included
WORDS = (
    0, 1, 2, 0x67, 0xE7, (1 << 64) - 1, 1 << 63, (1 << 63) - 1, (1 << 52) - 1, 0x7FFF_FFFF,
    0xFFFF_8880_0000_0000, 0xFFFF_FFFF_8100_0000, 0xFFFF_EA00_0000_0000, 0x2000_0000,
)  # fmt: skip


class Place(NamedTuple):
    """``size`` bytes at ``at`` of the image, which are of a kind."""

    kind: str
    at: int
    size: int


class Blow(NamedTuple):
    """These bytes are written at ``at``."""

    kind: str
    at: int
    data: bytes


class Finding(Exception):  # noqa: N818
    """Something that must not happen."""


def open_(path: str, address: int) -> Dump:
    """The crash in the image, by the header at ``address``."""
    return open_source(path, Options(source="raw", elfcorehdr=address))


def close(dump: Dump) -> None:
    """Give back the descriptors that the dump holds."""
    for fd in {run.fd for run in (*dump.present.runs, *dump.memory.runs)} - {-1}:
        os.close(fd)


class Target:
    """A private copy of a recorded crash, and what in it is worth to be hit."""

    def __init__(self, name: str, folder: str) -> None:
        self.name = name
        self.path = os.path.join(folder, f"{name}.img")
        source = recorded.image(name)
        subprocess.run(["cp", "--sparse=always", source, self.path], check=True)
        words = (recorded.folder(name) / "cmdline").read_text()
        address = elfcorehdr(words)
        assert address is not None, words
        self.header = address
        self.fd = os.open(self.path, os.O_RDWR)
        dump = open_(self.path, self.header)
        try:
            self.places = list(self._places(dump))
        finally:
            close(dump)

    def close(self) -> None:
        """Remove the copy."""
        os.close(self.fd)
        os.unlink(self.path)

    def _places(self, dump: Dump) -> Iterator[Place]:
        blob = (recorded.folder(self.name) / "elfcorehdr.bin").stat().st_size
        yield Place("header", self.header, blob)
        for h in recorded.headers(self.name):
            if h.kind == 4:
                yield Place("notes", h.offset, h.size)
        kernel = dump.kernel
        assert kernel.space.paging
        tables = [kernel.space.paging.root]
        for level in range(4):
            found = [t for table in tables for t in self._below(table)]
            for table in tables[:64]:
                yield Place(f"page table {level}", table, PAGE)
            tables = random.Random(level).sample(found, min(len(found), 64))
        for part in memory_map(kernel):
            for phys, size in kernel.extents(part.virt, part.size):
                if phys is not None:
                    yield Place("struct pages", phys, size)
        info = kernel.info
        for name in ("mem_section", "prb", "log_buf", "init_uts_ns", "node_data"):
            if (virt := info.symbol(name)) is not None:
                yield Place(name, kernel.phys(virt), 64)
        ring = kernel.u(info.symbol("prb") or 0)
        yield Place("log", kernel.phys(ring), 256)
        base = ring + (info.offset("printk_ringbuffer.desc_ring") or 0)
        for key in ("descs", "infos"):
            array = kernel.u(base + (info.offset(f"prb_desc_ring.{key}") or 0))
            yield Place(f"log {key}", kernel.phys(array), 4 * PAGE)
        sections = info.symbol("mem_section")
        if sections is not None:
            with contextlib.suppress(OldmemError):
                yield Place("mem_section", kernel.phys(kernel.u(sections)), PAGE)
                yield Place("mem_section", kernel.phys(kernel.u(kernel.u(sections))), PAGE)
        for key in ("kallsyms_names", "kallsyms_token_index", "kallsyms_markers"):
            if (virt := info.symbol(key)) is not None:
                yield Place("symbol table", kernel.phys(virt), PAGE)

    def _below(self, table: int) -> Iterator[int]:
        """The page tables that this one points to."""
        data = os.pread(self.fd, PAGE, table)
        for at in range(0, len(data), 8):
            entry = int.from_bytes(data[at : at + 8], "little")
            phys = entry & 0xF_FFFF_FFFF_F000
            if entry & 0x81 == 1 and phys < os.fstat(self.fd).st_size:
                yield phys

    def blows(self, number: int) -> list[Blow]:
        """What case ``number`` does."""
        rng = random.Random(f"{self.name} {number}")
        kinds = collections.defaultdict(list)
        for place in self.places:
            kinds[place.kind].append(place)
        chosen = rng.sample(sorted(kinds), rng.choice((1, 1, 2, 3)))
        found = []
        for _ in range(rng.choice((1, 2, 5, 20, 200))):
            kind = rng.choice(chosen)
            place = rng.choice(kinds[kind])
            found.append(Blow(kind, *self._blow(rng, place)))
        return found

    def _blow(self, rng: random.Random, place: Place) -> tuple[int, bytes]:
        at = place.at + rng.randrange(max(place.size // 8, 1)) * 8
        old = os.pread(self.fd, 8, at).ljust(8, b"\0")
        how = rng.randrange(7)
        if how == 0:
            return at, rng.randbytes(8)
        if how == 1:  # one bit
            flipped = int.from_bytes(old, "little") ^ 1 << rng.randrange(64)
            return at, flipped.to_bytes(8, "little")
        if how == 2:  # near to what it was
            near = int.from_bytes(old, "little") + rng.choice((-4096, -8, -1, 1, 8, 4096))
            return at, (near % (1 << 64)).to_bytes(8, "little")
        if how == 3:  # a table or an array that leads elsewhere, perhaps to itself
            phys = rng.choice(self.places).at & -PAGE
            return at, (phys | rng.choice((0x67, 0xE7, 0))).to_bytes(8, "little")
        if how == 4:  # what stands in another place
            other = rng.choice(self.places)
            size = rng.choice((8, 64, PAGE))
            return at, os.pread(self.fd, size, other.at)
        if how == 5 and place.kind in ("notes", "log"):  # text: a digit becomes another one
            return at, bytes(rng.choice(b"0123456789abcdef-\x1b=()") for _ in range(4))
        return at, rng.choice(WORDS).to_bytes(8, "little")

    @contextlib.contextmanager
    def damaged(self, blows: list[Blow]) -> Iterator[None]:
        """The image with these blows, put right again at the end."""
        undo = []
        try:
            for blow in blows:
                undo.append((blow.at, os.pread(self.fd, len(blow.data), blow.at)))
                os.pwrite(self.fd, blow.data, blow.at)
            yield
        finally:
            for at, old in reversed(undo):
                os.pwrite(self.fd, old, at)

    def check(self, blows: list[Blow]) -> str:
        """Every view of the damaged image; what came of it, in a word."""
        try:
            dump = open_(self.path, self.header)
        except OldmemError as error:
            return f"refused: {type(error).__name__}"
        try:
            outcome = "whole"
            catalog = Catalog(dump, views.make_views(dump, Options()), BadPages())
            for view in catalog.views[:64]:
                if isinstance(view, LiveView):
                    text = view.text(catalog)
                    if not "".join(text.split()).isprintable() or "unexpected" in text:
                        raise Finding(f"{view.name}: {text}")
                    continue
                plan = catalog.outcome(view)
                if isinstance(plan, OldmemError):
                    if "unexpected" in str(plan):
                        raise Finding(f"{view.name}: {plan}") from plan
                    outcome = "some views fail"
                    continue
                assert plan
                for at in {0, plan.size // 3, max(plan.size - MIB, 0)}:
                    data, _ = plan.table.read(at, MIB)
                    if len(data) != min(MIB, plan.size - at):
                        raise Finding(f"{view.name}: {len(data)} bytes at {at:#x}")
            if not {"header", "notes"} & {blow.kind for blow in blows}:
                self._check_vmcore(dump)
            return outcome
        finally:
            close(dump)

    def _check_vmcore(self, dump: Dump) -> None:
        plan = Plan(dump.core, dump.present)
        rng = random.Random(1)
        for load, h in zip(
            dump.header.loads, (h for h in recorded.headers(self.name) if h.kind == 1), strict=True
        ):
            for _ in range(4):
                at = rng.randrange(load.memsz - 64)
                data, faults = plan.table.read(load.offset + at, 64)
                if faults or data != os.pread(self.fd, 64, h.offset + at):
                    raise Finding(f"vmcore: other bytes at {load.offset + at:#x}")

    def check_mount(self, mountpoint: Path) -> str:
        """The same through a daemon: every file answers, it lives on, and its cost is bounded."""
        try:
            with mounted(
                self.path, mountpoint, f"source=raw,elfcorehdr={self.header:#x}"
            ) as daemon:
                if daemon.poll() is not None:
                    return f"refused with status {daemon.returncode}"
                failed = 0
                for path in sorted(mountpoint.rglob("*")):
                    if path.is_dir():
                        continue
                    try:
                        with path.open("rb") as file:
                            file.read(MIB)
                    except OSError:
                        failed += 1
                status = (mountpoint / "status").read_text()
                if "unexpected" in status:
                    raise Finding(status)
                cpu, peak = cpu_seconds_of(daemon.pid), peak_of(daemon.pid)
                if cpu > CPU or peak > MEMORY:
                    raise Finding(f"{cpu:.1f} s of processor time, {peak >> 20} MiB")
                return f"mounted, {failed} files fail"
        except AssertionError as error:
            raise Finding(f"the mount: {error}") from error
