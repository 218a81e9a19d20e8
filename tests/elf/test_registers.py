# SPDX-License-Identifier: MIT
"""Registers by name, with gdb and elfutils as referees where they are installed."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.cores import gdb_registers, note
from support.mounting import PATIENCE

from oldmemfs.elf.notes import Note, notes
from oldmemfs.elf.registers import as_text, extra_registers, pid, registers
from oldmemfs.errors import FormatError
from oldmemfs.kernel import arch

if TYPE_CHECKING:
    from pathlib import Path


# machine: size of elf_prstatus, big endian, first register, word, then places of some registers
MACHINES = {
    3: (144, False, 72, 4, {"ebx": 0, "eax": 6, "orig_eax": 11, "eip": 12, "esp": 15, "ss": 16}),
    8: (480, True, 112, 8, {"r0": 0, "r29": 29, "lo": 32, "epc": 34, "cause": 37}),
    20: (268, True, 72, 4, {"r1": 1, "nip": 32, "lr": 36, "mq": 39, "dsisr": 42, "result": 43}),
    21: (504, False, 112, 8, {"r1": 1, "nip": 32, "msr": 33, "ctr": 35, "cr": 38, "dar": 41}),
    22: (336, True, 112, 8, {"pswm": 0, "pswa": 1, "r0": 2, "r15": 17, "orig_r2": 26}),
    40: (148, False, 72, 4, {"r0": 0, "fp": 11, "sp": 13, "pc": 15, "cpsr": 16, "orig_r0": 17}),
    50: (1144, False, 112, 8, {"r0": 0, "pr": 33, "b0": 34, "ip": 42, "cfm": 43, "bsp": 46}),
    62: (336, False, 112, 8, {"r15": 0, "rax": 10, "rip": 16, "rsp": 19, "fs_base": 21, "gs": 26}),
    183: (392, False, 112, 8, {"x0": 0, "x30": 30, "sp": 31, "pc": 32, "pstate": 33}),
    243: (376, False, 112, 8, {"pc": 0, "ra": 1, "t2": 7, "s0": 8, "a0": 10, "s2": 18, "t6": 31}),
    258: (480, False, 112, 8, {"r0": 0, "r31": 31, "orig_a0": 32, "era": 33, "badv": 34}),
}
REFEREED = {3, 20, 21, 22, 40, 62, 183, 243}  # what elfutils 0.188 knows the registers of
STATUS = {machine: arch.machine(machine).status for machine in MACHINES}
each = pytest.mark.parametrize("machine", sorted(MACHINES))


def prstatus(machine: int) -> bytes:
    """A note's content whose words all differ and stay small enough for segment registers."""
    size, big_endian, at, word, _ = MACHINES[machine]
    order = ">" if big_endian else "<"
    desc = bytearray(size)
    struct.pack_into(order + "I", desc, 32 if word == 8 else 24, 4242)
    count = (size - at - 4) // 4
    struct.pack_into(f"{order}{count}I", desc, at, *range(0x1001, 0x1001 + count))
    return bytes(desc)


def core(machine: int, path: Path) -> None:
    """An ELF core of that one note."""
    size, big_endian, _, word, _ = MACHINES[machine]
    body = note(b"CORE\0", 1, prstatus(machine), big_endian=big_endian)
    order, wide = ">" if big_endian else "<", word == 8
    ident = bytes((0x7F, *b"ELF", 2 if wide else 1, 2 if big_endian else 1, 1))
    ehdr = struct.Struct(order + ("16s2HI3QI6H" if wide else "16s2HI3II6H"))
    phdr = struct.Struct(order + ("2I6Q" if wide else "8I"))
    start, length = ehdr.size + phdr.size, len(body)
    at = (4, 0, start, 0, 0, length, length, 4) if wide else (4, start, 0, 0, length, length, 0, 4)
    head = (ident, 4, machine, 1, 0, ehdr.size, 0, 0, ehdr.size, phdr.size, 1, 0, 0, 0)
    path.write_bytes(ehdr.pack(*head) + phdr.pack(*at) + body)
    assert size == len(prstatus(machine))


@each
def test_places(machine: int) -> None:
    _, big_endian, at, word, places = MACHINES[machine]
    desc = prstatus(machine)
    found = {r.name: r.value for r in registers(STATUS[machine], big_endian, desc)}
    for name, place in places.items():
        letter = (">" if big_endian else "<") + ("Q" if word == 8 else "I")
        assert found[name] == struct.unpack_from(letter, desc, at + word * place)[0], name
    assert len(found) == len(registers(STATUS[machine], big_endian, desc))
    assert pid(STATUS[machine], big_endian, desc) == 4242


@each
def test_too_short(machine: int) -> None:
    with pytest.raises(FormatError, match="too short for registers"):
        registers(STATUS[machine], False, prstatus(machine)[: MACHINES[machine][2] + 40])


def test_unknown_machine() -> None:
    with pytest.raises(FormatError, match="registers is not known"):
        registers(arch.machine(0x1234).status, False, bytes(4096))


def test_text() -> None:
    data = note(b"CORE\0", 1, prstatus(62))
    lines = as_text(STATUS[62], False, notes(data, False)).splitlines()
    assert lines[:2] == ["pid        4242", "r15        0x0000100200001001"]
    assert len(lines) == 28
    assert as_text(STATUS[62], False, []).startswith("no registers: the processor was offline")


def test_s390x_further_notes() -> None:
    def one(kind: int, size: int) -> list[tuple[str, int]]:
        desc = bytes(range(1, size + 1))
        return [
            (r.name, r.value)
            for r in extra_registers(STATUS[22], Note(b"LINUX", kind, desc, 0, 0), True)
        ]

    fp = one(2, 136)
    assert (fp[0], fp[1], fp[16][0]) == (("fpc", 0x01020304), ("f0", 0x090A0B0C0D0E0F10), "f15")
    assert one(0x301, 8) == [("timer", 0x0102030405060708)]
    assert one(0x302, 8) == [("todcmp", 0x0102030405060708)]
    assert one(0x303, 4) == [("todpreg", 0x01020304)]
    assert [name for name, _ in one(0x304, 128)] == [f"c{i}" for i in range(16)]
    assert one(0x305, 4) == [("prefix", 0x01020304)]
    assert [name for name, _ in one(0x309, 128)] == [f"v{i}.low" for i in range(16)]
    assert [name for name, _ in one(0x30A, 128 * 2 - 1)] == [f"v{i}" for i in range(16, 31)]
    assert one(0x999, 64) == []
    data = note(b"CORE\0", 1, prstatus(22), big_endian=True)
    data += note(b"LINUX\0", 0x305, b"\0\x12\x30\0", big_endian=True)
    text = as_text(STATUS[22], True, notes(data, True))
    assert "\na0         0x" in text
    assert text.endswith("\nprefix     0x00123000\n")


@pytest.mark.skipif(not shutil.which("gdb"), reason="no gdb here: apt-get install gdb")
@pytest.mark.parametrize("machine", [3, 62])
def test_equal_to_gdb(machine: int, tmp_path: Path) -> None:
    core(machine, tmp_path / "core")
    shown = gdb_registers(tmp_path / "core")
    for name, value, _ in registers(STATUS[machine], False, prstatus(machine)):
        if name not in ("orig_eax", "orig_rax", "fs_base", "gs_base"):  # gdb does not show these
            mask = 0xFFFFFFFF if name in ("cs", "ss", "ds", "es", "fs", "gs", "eflags") else -1
            assert shown[name] == value & mask, name


@pytest.mark.skipif(
    not shutil.which("eu-readelf"), reason="no eu-readelf here: apt-get install elfutils"
)
@pytest.mark.parametrize("machine", sorted(REFEREED))
def test_equal_to_elfutils(machine: int, tmp_path: Path) -> None:
    core(machine, tmp_path / "core")
    command = ["eu-readelf", "-n", str(tmp_path / "core")]
    told = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=PATIENCE
    ).stdout
    pairs = re.findall(r"([a-z0-9_.]+): +(0x[0-9a-f]+|-?\d+)", told)
    shown = {name: int(value, 0) for name, value in pairs}
    big_endian, word = MACHINES[machine][1], MACHINES[machine][3]
    assert shown["pid"] == 4242
    other = {
        "eflags": "rflags" if machine == 62 else "eflags", "fs_base": "fs.base",
        "gs_base": "gs.base", "orig_r3": "orig_gpr3", "cpsr": "spsr", "fp": "r11", "ip": "r12",
        "softe": "spr0",
    }  # fmt: skip
    unshown = {"trap", "result"} if machine in (20, 21) else set()
    for name, value, _ in registers(STATUS[machine], big_endian, prstatus(machine)):
        if name not in unshown:
            mask = 0xFFFF if name in ("cs", "ss", "ds", "es", "fs", "gs") else (1 << 8 * word) - 1
            assert shown[other.get(name, name)] & mask == value & mask, name
