# SPDX-License-Identifier: MIT
"""Which machine it was: from memory, from the log, and from whatever is left of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.recorded import each_golden
from support.recorded_dumps import dump

from oldmemfs.elf.header import EM_PPC64, Header
from oldmemfs.errors import FaultError
from oldmemfs.kernel.arch import machine_name
from oldmemfs.kernel.identity import BANNER, COMMAND_LINE, HARDWARE, Identity, identify
from oldmemfs.kernel.printk import Log, Record
from oldmemfs.kernel.vmcoreinfo import Vmcoreinfo
from oldmemfs.maps.sizes import exact

if TYPE_CHECKING:
    from collections.abc import Mapping

UTS, TEXT, POINTER = 0x1000, 0x2000, 0x3000
RELEASE = b"6.1.0-test"
UTSNAME = b"".join(
    field.ljust(65, b"\0")
    for field in (b"Linux", b"db7", RELEASE, b"#1 SMP Debian", b"x86_64", b"(none)")
)


class Memory:
    """Virtual memory of a few pieces."""

    word, big_endian = 8, False

    def __init__(self, pieces: Mapping[int, bytes]) -> None:
        self._pieces = pieces

    def read(self, virt: int, size: int) -> bytes:
        for at, data in self._pieces.items():
            if at <= virt and virt + size <= at + len(data):
                return data[virt - at : virt - at + size]
        raise FaultError(virt, size)


def info(more: str = "") -> Vmcoreinfo:
    return Vmcoreinfo.parse(
        b"OSRELEASE=%b\nSYMBOL(init_uts_ns)=%x\n" % (RELEASE, UTS) + more.encode()
    )


def log(*texts: str, facility: int = 0) -> Log:
    return Log(tuple(
        Record(i, i * 10**9, 6, facility, None, text.encode()) for i, text in enumerate(texts)
    ))  # fmt: skip


BOOT = log(
    "Linux version 6.1.0-test (x@y) #1 SMP", "Command line: root=/dev/sda1 quiet", "DMI: QEMU PC",
    "Kernel command line: root=/dev/sda1 quiet early", "Hardware name: QEMU Standard PC, BIOS 1",
)  # fmt: skip


def test_from_memory() -> None:
    memory = Memory({
        UTS: b"\1\0\0\0" + UTSNAME,
        TEXT: b"Linux version 6.1.0-test (a@b) #1\n\0".ljust(512, b"\0"),
        POINTER: (TEXT + 0x800).to_bytes(8, "little"),
        TEXT + 0x800: b"root=/dev/sdb1 ro \0".ljust(512, b"\xee"),
        0x8000: b"ACME 9000\0".ljust(256, b"\0"),
    })  # fmt: skip
    symbols = {BANNER: TEXT, COMMAND_LINE: POINTER, HARDWARE: 0x8000}
    assert identify(memory, info(), symbols, BOOT) == Identity(
        "Linux version 6.1.0-test (a@b) #1", "db7", "root=/dev/sdb1 ro", "ACME 9000", 4.0
    )


@pytest.mark.parametrize(
    ("lead", "more"), [(0, ""), (4, ""), (16, "OFFSET(uts_namespace.name)=16\n")]
)
def test_where_the_name_stands(lead: int, more: str) -> None:
    memory = Memory({UTS: bytes(lead) + UTSNAME + bytes(64)})
    found = identify(memory, info(more), {}, None)
    assert (found.hostname, found.version) == ("db7", "Linux version 6.1.0-test #1 SMP Debian")


def test_from_the_log() -> None:
    assert identify(None, info(), {}, BOOT) == Identity(
        "Linux version 6.1.0-test (x@y) #1 SMP", None, "root=/dev/sda1 quiet early",
        "QEMU Standard PC, BIOS 1", 4.0,
    )  # fmt: skip
    early = log("Machine model: linux,dummy-virt", "Command line: console=ttyAMA0")
    found = identify(None, info(), {}, early)
    assert (found.hardware, found.command_line) == ("linux,dummy-virt", "console=ttyAMA0")


def test_nothing_is_there() -> None:
    """A symbol that leads nowhere, a log that only programs wrote: all unknown, no error."""
    symbols = {BANNER: 0x9000, COMMAND_LINE: 0x9000, HARDWARE: 0x9000}
    assert identify(Memory({}), info(), symbols, Log(())) == Identity()
    assert identify(Memory({}), info(), symbols, None) == Identity()
    written = log("Hardware name: none of this", "Command line: init=/bin/sh", facility=1)
    assert identify(None, info(), {}, written) == Identity(uptime=1.0)


def test_a_text_without_an_end_is_cut_and_fit_for_a_terminal() -> None:
    memory = Memory({0x10000: b"\x1b[2J" * 0x8000})
    found = identify(memory, info(), {HARDWARE: 0x10000}, None).hardware
    assert found is not None
    assert found.startswith("\\x1b[2J\\x1b[2J")
    assert len(found) <= 0x8000 * 2


@each_golden
def test_a_real_crash(golden: str) -> None:
    crash = dump(golden)
    found = crash.identity
    assert found.version is not None
    assert found.version.startswith(f"Linux version {crash.vmcoreinfo.release} (debian-kernel@")
    assert "Debian" in found.version.split("#1")[1]
    assert found.command_line == "console=ttyS0 crashkernel=192M panic=-1"
    assert found.hardware is not None
    assert found.hardware.startswith("QEMU Standard PC (i440FX + PIIX, 1996), BIOS 1.16.2")
    assert found.hostname == "(none)"
    assert found.uptime is not None
    assert 5 < found.uptime < 15


@pytest.mark.parametrize(("big", "name"), [(True, "ppc64"), (False, "ppc64le")])
def test_power_is_called_by_its_name(big: bool, name: str) -> None:
    assert machine_name(Header(b"", 64, big, EM_PPC64, ())) == name


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0"), (845, "845"), (1024, "1024 (1.0 KiB)"), (111558656, "111558656 (106.3 MiB)")],
)
def test_sizes(size: int, shown: str) -> None:
    assert exact(size) == shown
