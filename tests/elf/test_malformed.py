# SPDX-License-Identifier: MIT
"""Malformed and odd ELF headers, numbered: what fs/proc/vmcore.c of 3.11 to 7.x does with each.

The numbers in the names of the tests count the cases; nothing else refers to them.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from support.catalogs import catalog_of, plan_of, read_all, vmcore
from support.image import (  # fmt: skip
    HEADER,
    LOAD,
    NOTE,
    NOTES,
    NULL,
    Blob,
    Image,
    Segment,
    cpu_note,
    crashed,
    vmcore_of,
)

from oldmemfs.elf.header import parse_header
from oldmemfs.errors import FormatError
from oldmemfs.ranges import Range

if TYPE_CHECKING:
    from pathlib import Path

AT = f"elfcorehdr={HEADER:#x}"
CPU = Segment(NOTE, NOTES, 368)
RAM = Segment(LOAD, 0x20000, 0x4000)


def image_of(blob: Blob, notes: bytes = cpu_note() + bytes(12)) -> Image:
    return Image().put(NOTES, notes).put(HEADER, blob.pack())


def refused(image: Image, tmp_path: Path, match: str, options: str = AT) -> None:
    path = image.write(tmp_path / "ram.img")
    with pytest.raises(FormatError, match=match) as caught:
        plan_of(catalog_of(path, options), "vmcore")
    assert path in str(caught.value)


def identical(image: Image, tmp_path: Path, warning: str | None = None) -> bytes:
    got, warnings = vmcore(image, tmp_path, AT + ",note_align=0")
    assert got == vmcore_of(bytes(image.data), HEADER)
    assert [w for w in warnings if warning is None or warning not in w] == []
    assert warning is None or warnings
    return got


@pytest.mark.parametrize(
    ("row", "patch", "fields", "match"),
    [
        (1, {0: b"\x7fELG"}, {}, r"no ELF magic.*\(at 0x8000\)"),
        (2, {4: b"\0"}, {}, r"EI_CLASS is 0.*\(at 0x8004\)"),
        (2, {4: b"\3"}, {}, "EI_CLASS is 3"),
        (3, {}, {"type": 2}, r"e_type is 0x2.*\(at 0x8010\)"),
        (3, {}, {"version": 0}, "e_version is 0x0"),
        (3, {6: b"\2"}, {}, "EI_VERSION is 0x2"),
        (3, {}, {"ehsize": 63}, r"e_ehsize is 0x3f.*\(at 0x8034\)"),
        (3, {}, {"phentsize": 32}, "e_phentsize is 0x20"),
        (4, {}, {"phnum": 0}, r"e_phnum is 0.*\(at 0x8038\)"),
    ],
)
def test_refused(
    tmp_path: Path, row: int, patch: dict[int, bytes], fields: dict[str, int], match: str
) -> None:
    refused(image_of(Blob([CPU, RAM], patch=patch, fields=fields)), tmp_path, match)


@pytest.mark.parametrize(
    ("machine", "bits", "native", "fits"),
    [
        (62, 64, "x86_64", True), (62, 32, "x86_64", True), (3, 32, "x86_64", False),
        (3, 64, "x86_64", False), (183, 64, "x86_64", False), (3, 32, "i386", True),
        (6, 32, "i386", True), (3, 64, "i386", True), (62, 64, "i386", True),
        (62, 32, "i386", False), (40, 32, "arm", True), (40, 64, "arm", False),
        (183, 64, "aarch64", True), (21, 64, "ppc64", True), (22, 64, "s390x", True),
    ],
)  # fmt: skip
def test_5_a_header_for_another_machine(
    tmp_path: Path, machine: int, bits: int, native: str, fits: bool
) -> None:
    image = image_of(Blob([CPU, RAM], bits, machine=machine))
    path = image.write(tmp_path / "ram")
    for options in (AT, f"{AT},arch=any", *[f"{AT},arch={native}"] * fits):
        assert plan_of(catalog_of(path, options), "vmcore").size == 0x6000
    if not fits:
        refused(image, tmp_path, "-o arch=any", f"{AT},arch={native}")


def test_6_fields_that_nobody_checks_are_copied(tmp_path: Path) -> None:
    junk = {"flags": 0x1234, "shoff": 0x99, "shnum": 7, "shentsize": 3, "shstrndx": 9, "entry": 5}
    got = identical(image_of(Blob([CPU, RAM], patch={5: b"\2", 7: b"\x09"}, fields=junk)), tmp_path)
    assert got[5:8] == b"\2\1\x09"


def test_7_e_phoff_is_ignored_and_copied(tmp_path: Path) -> None:
    image = image_of(Blob([CPU, RAM], fields={"phoff": 4096}))
    assert identical(image, tmp_path, "e_phoff")[32:40] == struct.pack("<Q", 4096)


def test_8_more_headers_than_real_ones(tmp_path: Path) -> None:
    image = image_of(Blob([CPU, RAM, *[Segment(NULL, 0, 0)] * 3]))
    assert struct.unpack_from("<H", identical(image, tmp_path), 56) == (5,)


def test_9_one_empty_note(tmp_path: Path) -> None:
    identical(image_of(Blob([Segment(NOTE, NOTES + 0x400, 368), CPU, RAM]))
              .put(NOTES + 0x400, bytes(368)), tmp_path)  # fmt: skip


def test_10_all_notes_empty(tmp_path: Path) -> None:
    image = image_of(Blob([CPU, RAM]), bytes(368))
    refused(image, tmp_path, "all PT_NOTEs are empty.*notes=skip")
    got, _ = vmcore(image, tmp_path, AT + ",notes=skip,note_align=0")
    assert got == vmcore_of(bytes(image.data), HEADER)


def test_11_no_note_at_all(tmp_path: Path) -> None:
    image = image_of(Blob([RAM]))
    refused(image, tmp_path, "no PT_NOTE")
    got, _ = vmcore(image, tmp_path, AT + ",notes=skip,note_align=0")
    assert got[0x1000:] == image.data[0x20000:0x24000]


def test_12_a_note_of_size_0(tmp_path: Path) -> None:
    identical(image_of(Blob([Segment(NOTE, NOTES, 0), CPU, RAM])), tmp_path, "PT_NOTE of size 0")


@pytest.mark.parametrize(
    ("row", "second", "size"),
    [
        (13, struct.pack("<III", 5, 0xFFFFFFFF, 1) + b"CORE\0\0\0\0" + bytes(24), 400),
        (14, b"", 356),
        (15, cpu_note(), 708),
        (16, struct.pack("<III", 0, 0, 1) + cpu_note(), 800),
    ],
)
def test_notes_that_end_oddly(tmp_path: Path, row: int, second: bytes, size: int) -> None:
    image = image_of(Blob([Segment(NOTE, NOTES, size), RAM]), cpu_note() + second)
    got = identical(image, tmp_path)
    assert struct.unpack_from("<Q", got, 64 + 32) == (356,)
    packed, _ = vmcore(image, tmp_path, AT + ",layout=packed,note_align=0")
    assert struct.unpack_from("<Q", packed, 64 + 32) == ({13: 376, 15: 712}.get(row, 356),)


def test_17_notes_and_loads_mixed(tmp_path: Path) -> None:
    """PT_LOADs among the first program headers are lost; a PT_NOTE behind them survives."""
    two = [Segment(NOTE, at, 368, flags=0) for at in (0x5000, 0x6000)]
    image = Image()
    for segment in two:
        image.put(segment.offset, cpu_note() + bytes(12))
    blob = Blob([Segment(LOAD, 0x10000, 0x1000), *two, Segment(LOAD, 0x20000, 0x2000)])
    got = identical(image.put(HEADER, blob.pack()), tmp_path, "is lost, as in /proc/vmcore")
    assert len(got) == 0x4000
    rows = [struct.unpack_from("<II6Q", got, 64 + 56 * i) for i in range(3)]
    assert rows[0][5:7] == (0x2C8, 0x2C8)
    assert (rows[1][2], rows[1][5], rows[1][6]) == (0x6000, 0x170, 0x164)
    assert rows[2][2] == 0x2000


def test_18_loads_of_size_0(tmp_path: Path) -> None:
    loads = [Segment(LOAD, 0x10000, 0), Segment(LOAD, 0x20010, 0), Segment(LOAD, 0x30000, 1)]
    got = identical(image_of(Blob([CPU, *loads])), tmp_path)
    offsets = [struct.unpack_from("<Q", got, 64 + 56 * i + 8)[0] for i in (1, 2, 3)]
    assert (offsets, len(got)) == ([0x2000, 0x2010, 0x3000], 0x4000)


def test_19_filesz_is_copied_and_not_used(tmp_path: Path) -> None:
    identical(image_of(Blob([CPU, Segment(LOAD, 0x20000, 0x3000, filesz=5)])), tmp_path)


@pytest.mark.parametrize(
    ("offset", "memsz"), [(0x587A91400000, 0xFFFFA785B08B0000), (0, 2**64 - 1)]
)
def test_20_a_load_that_wraps_is_reported_and_the_rest_is_served(
    tmp_path: Path, offset: int, memsz: int
) -> None:
    image = image_of(Blob([CPU, Segment(LOAD, offset, memsz), RAM]))
    got, warnings = vmcore(image, tmp_path, AT + ",note_align=0")
    assert len([w for w in warnings if "program header 1 cannot be memory" in w]) == 1
    rows = [struct.unpack_from("<II6Q", got, 64 + 56 * i) for i in range(3)]
    kept = 0x100000 if offset == 0 else 0
    assert rows[1][5:7] == (kept, kept)
    assert got[rows[2][2] :] == image.data[0x20000:0x24000]


def test_20_a_load_above_all_memory_is_clamped_to_the_sane_ones() -> None:
    from oldmemfs.elf.procvmcore import clamp

    blob = Blob([CPU, Segment(LOAD, 0x21000, 2**60), RAM]).pack()
    header = parse_header(lambda at, size: blob[at : at + size], 0, "blob")
    clamped, warnings = clamp(header, 2**52, None, "blob")
    assert clamped.phdrs[1].memsz == 0x3000
    assert "its first 0x3000 bytes are served" in warnings[0]


def test_21_overlapping_and_descending_loads(tmp_path: Path) -> None:
    loads = [RAM, Segment(LOAD, 0x10000, 0x2000), RAM, Segment(LOAD, 0x21000, 0x1000)]
    identical(image_of(Blob([CPU, *loads])), tmp_path)


def test_23_65535_headers(tmp_path: Path) -> None:
    image = Image(8 << 20).put(NOTES, cpu_note() + bytes(12))
    loads = [Segment(LOAD, 0x1000 * (i % 4), 0x10) for i in range(65534)]
    image.put(0x100000, Blob([CPU, *loads]).pack())
    catalog = catalog_of(image.write(tmp_path / "ram"), "elfcorehdr=1M,note_align=0")
    plan = plan_of(catalog, "vmcore")
    assert plan.size == 4096 * (-(-(64 + 56 * 65535) // 4096) + 1 + 65534)
    data, faults = plan.table.read(plan.size - 4096, 8192)
    assert (data, faults) == (bytes(image.data[0x1000:0x2000]), [])


def test_24_a_blob_that_crosses_a_page(tmp_path: Path) -> None:
    image = Image().put(NOTES, cpu_note() + bytes(12)).put(0x8FF8, Blob([CPU, RAM]).pack())
    got, _ = vmcore(image, tmp_path, "elfcorehdr=0x8ff8,note_align=0")
    assert got == vmcore_of(bytes(image.data), 0x8FF8)


def test_25_a_note_of_16_mib(tmp_path: Path) -> None:
    image = image_of(Blob([Segment(NOTE, NOTES, 16 << 20), RAM]))
    refused(image, tmp_path, "PT_NOTE of 0x1000000 bytes at 0x4000: more than")


def test_26_a_note_that_cannot_be_read(tmp_path: Path) -> None:
    image = image_of(Blob([Segment(NOTE, 0x40000000, 368), CPU, RAM]))
    refused(image, tmp_path, "0x40000000.*cannot be read")
    got, warnings = vmcore(image, tmp_path, AT + ",notes=skip,note_align=0")
    assert len(warnings) == 1
    assert len(got) == 0x6000


def test_26_a_blob_that_cannot_be_read(tmp_path: Path) -> None:
    image = image_of(Blob([CPU, RAM]))
    refused(image, tmp_path, "no ELF header at 0x40000000", "elfcorehdr=1G")
    blob = Blob([CPU, RAM]).pack()
    image.put(image.size - len(blob) + 8, blob[:-8])
    refused(image, tmp_path, "no ELF header at", f"elfcorehdr={image.size - len(blob) + 8}")


def test_27_a_load_with_an_unreadable_part(tmp_path: Path) -> None:
    """Two PT_LOADs, the first reaching past the image's end: only its own tail is bad."""
    image = image_of(Blob([CPU, Segment(LOAD, 0xFE000, 0x4000), RAM]))
    plan = plan_of(catalog_of(image.write(tmp_path / "ram"), AT), "vmcore")
    data, faults = read_all(plan)
    assert [(f.offset, f.size) for f in faults] == [(0x4000, 0x2000)]
    assert data[0x2000:0x4000] == image.data[0xFE000:]
    assert data[0x4000:0x6000] == bytes(0x2000)
    assert data[0x6000:] == image.data[0x20000:0x24000]
    assert list(plan.places(Range(0x4001, 0x4002))) == [(0x100001, Range(0x4001, 0x4002))]


def test_28_a_backup_with_another_offset_in_its_page(tmp_path: Path) -> None:
    identical(image_of(Blob([CPU, Segment(LOAD, 0x30123, 0x1000, paddr=0x1000)])), tmp_path)


def test_30_the_page_size_is_the_capture_kernels(tmp_path: Path) -> None:
    image = crashed([Segment(LOAD, 0x21000, 0x1000)])
    got, _ = vmcore(image, tmp_path, AT + ",page_size=64K,note_align=0")
    assert got == vmcore_of(bytes(image.data), HEADER, 65536)
    assert len(got) == 0x30000


def test_a_file_larger_than_can_be_counted(tmp_path: Path) -> None:
    loads = [Segment(LOAD, 0, 2**51)] * 4096
    refused(image_of(Blob([CPU, *loads])), tmp_path, "add up to 0x")
