# SPDX-License-Identifier: MIT
"""Hostile images through a mount: each view fails alone, in bounded time and memory, and says why.

A guest can craft its own RAM. Whatever it does, ``vmcore`` is what the header says, ``status``
answers, and the mount goes on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import image
from support.budget import cpu_seconds_of
from support.crash import Crash, Model
from support.crash_arch import X86_64
from support.mounting import mounted, needs_mount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = needs_mount
PAGE = 4096
SECONDS = 30.0  # of processor time for all that is done to one hostile mount; about 1 is needed
MEMORY = 160 << 10  # KiB of resident memory, of which a healthy mount takes about 50
ROOT = X86_64.image_phys + 0x100000


@dataclass
class Mount:
    """What a user sees of it."""

    path: Path
    daemon: int
    warned: str = ""

    @property
    def status(self) -> str:
        return (self.path / "status").read_text()

    def state(self, view: str) -> str:
        found = re.search(rf"(?m)^  {view} +(.*)$", self.status)
        assert found, self.status
        return found[1]

    @property
    def resident(self) -> int:
        """The most that it ever took, in KiB."""
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{self.daemon}/status").read_text())
        assert found
        return int(found[1])


@contextlib.contextmanager
def served(
    crash: Crash,
    tmp_path: Path,
    blob: bytes | None = None,
    *,
    seconds: float = SECONDS,
    memory: int = MEMORY,
) -> Iterator[Mount]:
    """The crash, mounted, and watched until the end."""
    header = tmp_path / "header"
    header.write_bytes(crash.elfcorehdr(2) if blob is None else blob)
    source = f"/proc/{os.getpid()}/fd/{crash.ram.fd}"
    with mounted(source, tmp_path / "mnt", f"elfcorehdr={header}") as daemon:
        mount = Mount(tmp_path / "mnt", daemon.pid)
        yield mount
        assert len(list(mount.path.iterdir())) > 5
        assert daemon.poll() is None
        assert mount.resident < memory
        assert cpu_seconds_of(daemon.pid) < seconds


def assert_right(crash: Crash, vmcore: Path) -> None:
    """Its PT_LOADs hold what memory holds: their first and last pages, and some between."""
    rng = random.Random(1)
    with vmcore.open("rb") as file:
        head = file.read(1 << 22)
        count = struct.unpack_from("<H", head, 56)[0]
        for i in rng.sample(range(1, count), min(count - 1, 64)):
            kind, _, offset, _, phys, size = struct.unpack_from("<2I4Q", head, 64 + 56 * i)
            assert kind == image.LOAD
            for at in (0, size - PAGE, *(rng.randrange(0, size - PAGE + 1) for _ in range(8))):
                file.seek(offset + at)
                assert file.read(PAGE) == crash.memory.read(phys + at, PAGE)


def lines(**changes: str) -> Callable[[Crash], None]:
    """Lies in VMCOREINFO."""

    def lie(crash: Crash) -> None:
        for key, value in changes.items():
            kind, _, name = key.partition("__")
            crash.lines[f"{kind}({name.replace('__', '.')})" if name else kind] = value

    return lie


def entries(value: int) -> Callable[[Crash], None]:
    """Every table but the root's own way to the kernel's image leads to ``value``."""

    def write(crash: Crash) -> None:
        crash.ram.write(ROOT, struct.pack("<Q", value) * 511)

    return write


def garbage(crash: Crash) -> None:
    rng = random.Random(2)
    crash.lines = {rng.randbytes(9).hex(): chr(rng.randrange(1, 9999)) * 40 for _ in range(80)}


def sections(value: int) -> Callable[[Crash], None]:
    def point(crash: Crash) -> None:
        at = int(crash.lines["SYMBOL(mem_section)"], 16) - X86_64.linear
        crash.ram.write(at, struct.pack("<Q", value) * 256)

    return point


LIES = {
    "tables that lead to themselves": entries(ROOT | 0x63),
    "tables that lead out of memory": entries(0xFFFFFFFF00000 | 0x63),
    "large leaves of tables": entries(ROOT | 0xE3),
    "VMCOREINFO of garbage": garbage,
    "no VMCOREINFO": lambda crash: crash.lines.clear(),
    "mem_section nowhere": lines(SYMBOL__mem_section="dead000000000000"),
    "mem_section of user space": lines(SYMBOL__mem_section="1000"),
    "mem_section of all ones": lines(SYMBOL__mem_section="ffffffffffffffff"),
    "mem_section is the page tables": lines(SYMBOL__mem_section=f"{X86_64.image + 0x100000:x}"),
    "a root at 0": sections(0),
    "roots that are no addresses": sections(0x8000000000000001),
    "roots that lead to themselves": sections(X86_64.linear + ROOT),
    "struct page of 0 bytes": lines(SIZE__page="0"),
    "struct page of 2^63 bytes": lines(SIZE__page="9223372036854775808"),
    "mem_section of 0 bytes": lines(SIZE__mem_section="0"),
    "sections of two pages": lines(NUMBER__SECTION_SIZE_BITS="13"),
    "sections of 2^63 bytes": lines(NUMBER__SECTION_SIZE_BITS="63"),
    "members outside of struct page": lines(OFFSET__page__flags="9223372036854775807"),
    "a destructor below 0": lines(
        NUMBER__HUGETLB_PAGE_DTOR="-2",
        OFFSET__page__compound_dtor="16",
        OFFSET__page__compound_order="17",
    ),
    "a crash at the end of time": lines(CRASHTIME="18446744073709551615"),
    "a crash before time": lines(CRASHTIME="-5"),
    "a terminal's commands": lines(OSRELEASE="\x1b[2J\x1b]0;owned\x07"),
}


def looked_at(mount: Mount, name: str) -> bool:
    """Whether a file is as long as it says, or fails with EIO and a reason in status."""
    path = mount.path / name
    try:
        with path.open("rb") as file:
            data = file.read(1 << 20)
    except OSError as error:
        return error.errno == errno.EIO and mount.state(name).startswith("cannot be read: ")
    return len(data) == min(path.stat().st_size, 1 << 20)


@pytest.mark.parametrize("lie", LIES)
def test_a_kernel_that_lies(lie: str, tmp_path: Path) -> None:
    """Each view gives a file, or EIO and its reason in status; vmcore is right."""
    crash = Crash(X86_64, Model.EXTREME, fill={"flags": 1})
    LIES[lie](crash)
    with served(crash, tmp_path) as mount:
        for name in ("vmcore-kern", "filter-report", "dmesg", "summary", "status"):
            assert looked_at(mount, name)
        assert mount.status.replace("\n", "").isprintable()
        assert "unexpected" not in mount.status
        assert_right(crash, mount.path / "vmcore")


def many(count: int, size: int, step: int) -> bytes:
    """A header of so many PT_LOADs behind a processor's note."""
    row = struct.Struct("<2I6Q")
    loads = [
        row.pack(1, 7, at, X86_64.linear + at, at, size, size, 0)
        for at in (0x100000 + i * step for i in range(count))
    ]
    head = image.Blob([image.Segment(image.NOTE, 0x1000, 368)], phnum=count + 1).pack()
    return head + b"".join(loads)


def with_vmcoreinfo(crash: Crash) -> None:
    """Both notes at 0x1000, where ``many`` looks for them."""
    text = crash.text[: 3 << 10]
    note = image.note(b"VMCOREINFO", 0, text)
    assert len(note) < 1 << 12
    crash.ram.write(0x1000, note)


@pytest.mark.parametrize(("size", "step"), [(1 << 28, PAGE), (PAGE, 2 * PAGE), (PAGE, 0)])
def test_as_many_program_headers_as_there_can_be(size: int, step: int, tmp_path: Path) -> None:
    crash = Crash(X86_64, Model.VMEMMAP, fill={"flags": 1})
    crash.lines |= {"NUMBER(PG_hwpoison)": "22"}
    with_vmcoreinfo(crash)
    blob = bytearray(many(0xFFFE, size, step))
    note = struct.pack("<2I6Q", 4, 0, 0x1000, 0, 0x1000, PAGE, PAGE, 0)
    blob[64:120] = note
    with served(crash, tmp_path, bytes(blob), seconds=120, memory=256 << 10) as mount:
        with contextlib.suppress(OSError), (mount.path / "vmcore-kern").open("rb") as file:
            assert file.read(4) == b"\x7fELF"
        assert not mount.state("vmcore-kern").startswith("its pages"), "never looked at"
        assert_right(crash, mount.path / "vmcore")


def test_a_log_ring_of_its_own_making(tmp_path: Path) -> None:
    """Nothing but zeros, of 2^31 descriptors: bounded, and said."""
    crash = Crash(X86_64, fill={"flags": 1})
    members = {
        "printk_ringbuffer.desc_ring": 0, "printk_ringbuffer.text_data_ring": 64,
        "prb_desc_ring.count_bits": 0, "prb_desc_ring.descs": 8, "prb_desc_ring.infos": 16,
        "prb_desc_ring.head_id": 24, "prb_desc_ring.tail_id": 32, "prb_desc.state_var": 0,
        "prb_desc.text_blk_lpos": 8, "prb_data_blk_lpos.begin": 0, "prb_data_blk_lpos.next": 8,
        "prb_data_ring.size_bits": 0, "prb_data_ring.data": 8, "atomic_long_t.counter": 0,
        "printk_info.seq": 0, "printk_info.ts_nsec": 8, "printk_info.text_len": 16,
    }  # fmt: skip
    crash.lines |= {f"OFFSET({key})": str(value) for key, value in members.items()}
    crash.lines |= {"SIZE(prb_desc)": "24", "SIZE(printk_info)": "88"}
    base = X86_64.linear
    ring = struct.pack("<5Q", 31, base, base, (1 << 30) - 1, 0).ljust(64, b"\0")
    crash.symbol("prb", crash.cell(crash.write_linear(ring + struct.pack("<2Q", 31, base))))
    with served(crash, tmp_path) as mount:
        assert b"skipped" in (mount.path / "dmesg").read_bytes()
        assert (mount.path / "vmcore-kern").stat().st_size
        assert_right(crash, mount.path / "vmcore")


def test_a_user_page_never_shows_whatever_the_struct_pages_hold(tmp_path: Path) -> None:
    """Random struct pages: what a plain model says is a user's has not one byte in the file."""
    rng = random.Random(3)
    first, count = 0x8000, 0x4000
    kinds = ({"flags": 1 << 3}, {"mapping": 1}, {"flags": 1 << 3, "mapping": 0x1001},
             {"flags": 0}, {"_mapcount": 5})  # fmt: skip
    pages = {pfn: rng.choice(kinds) for pfn in range(first, first + count)}
    crash = Crash(X86_64, fill={"_mapcount": 0}, pages=pages)
    crash.lines |= {"NUMBER(PG_hwpoison)": "22"}
    marks = {pfn: b"%08x" % pfn * 512 for pfn in pages}
    for pfn, mark in marks.items():
        crash.ram.write(pfn * PAGE, mark)
    with served(crash, tmp_path) as mount:
        data = (mount.path / "vmcore-kern").read_bytes()
        assert len(data) == (mount.path / "vmcore-kern").stat().st_size
    shown = {data[at : at + 8] for at in range(0, len(data), PAGE)}
    shown |= {data[at + 8 : at + 16] for at in range(0, len(data), PAGE)}
    assert len(data) % PAGE == 0
    for pfn, members in pages.items():
        user = bool(members.get("mapping"))
        assert (marks[pfn][:8] in shown) == (not user), hex(pfn)
