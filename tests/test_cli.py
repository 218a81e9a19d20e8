# SPDX-License-Identifier: MIT
"""Wrong words and bad input: one clear line, status 1 or 2, no traceback, nothing written."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import pytest
from support.catalogs import catalog_of, plan_of, read_all
from support.image import HEADER, LOAD, NOTE, Blob, Image, Segment, crashed, vmcore_of
from support.mounting import OLDMEMFS, run

from oldmemfs.cli import read_arguments
from oldmemfs.commands import check
from oldmemfs.errors import SourceError, UsageError
from oldmemfs.options import Piece, number, parse
from oldmemfs.ranges import Range
from oldmemfs.sources import findheader, liveheader, open_source, raw

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def ram(tmp_path: Path) -> str:
    return crashed([Segment(LOAD, 0x20000, 0x4000)]).write(tmp_path / "ram.img")


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["/nowhere", "-o", "rw"], 2, "/nowhere: not a directory"),
        ([], 2, "give [SOURCE] MOUNTPOINT"),
        (["a", "b", "c"], 2, "give [SOURCE] MOUNTPOINT"),
        (["--wrong"], 2, "--wrong: no such option"),
        (["-o"], 2, "-o: needs a value"),
        (["x", "-o", "wrong"], 2, "-o wrong: not an option; there are"),
        (["x", "-o", "source=tape"], 2, "give one of devmem, elf, raw"),
        (["x", "-o", "elfcorehdr=12zz"], 2, "give an address (0x hex) or a file's path"),
        (["x", "-o", "page_size=4097"], 2, "give a power of two"),
        (["x", "-o", "page_size=many"], 2, "-o page_size=many: give a power of two"),
        (["x", "-o", "dump_level=abc"], 2, "-o dump_level=abc: give 0 to 31"),
        (["x", "-o", "dump_level=32"], 2, "-o dump_level=32: give 0 to 31"),
        (["x", "-o", "dump_level"], 2, "-o dump_level: needs a value"),
        (["x", "-o", "ram"], 2, "-o ram: needs a value"),
        (["x", "-o", "strict=1"], 2, "-o strict=1: takes no value: write -o strict,"),
        (["x", "-o", "allow_other=0"], 2, "takes no value: write -o allow_other,"),
        (["x", "-o", "note_align=8"], 2, "give one of 0, 4"),
        (["x", "-o", "ram=5-3@0"], 2, "START is not below END"),
        (["x", "-o", "ram=5"], 2, "give START-END@OFFSET in hex"),
        (["x", "-o", "ram=0-1000@0,machine=pc"], 2, "give one"),
        (["--list", "/absent"], 1, "oldmemfs: /absent: there is no such file\n"),
        (["--list", "/etc/passwd/x"], 1, "oldmemfs: /etc/passwd/x: Not a directory\n"),
        (["--list", "/dev/null"], 1, "oldmemfs: /dev/null: not a regular file or block device"),
        (["--list", "/tmp"], 1, "oldmemfs: /tmp: not a regular file or block device"),
    ],
)
def test_one_clear_line(words: list[str], status: int, told: str) -> None:
    done = run(*OLDMEMFS, *words)
    assert done.returncode == status
    assert done.stdout == ""
    assert done.stderr.startswith("oldmemfs: ")
    assert done.stderr.count("\n") == 1
    assert told in done.stderr


def test_without_a_source_every_reason_is_told(tmp_path: Path) -> None:
    if os.path.exists("/proc/vmcore"):
        pytest.skip("this is a capture kernel")
    done = run(*OLDMEMFS, str(tmp_path))
    assert done.returncode == 1
    for kind in ("devmem: ", "elf: /proc/vmcore: ", "raw: no image was named"):
        assert kind in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "empty"),
        (b"KDUMP   " + bytes(100), "open it with crash or drgn"),
        (b"makedumpfile\0" + bytes(100), "makedumpfile -R"),
        (b"\x28\xb5\x2f\xfd" + bytes(100), "compressed with zstd"),
        (b"EMiL" + bytes(100), "give -o source=raw,ram=START-END@OFFSET:..."),
        (b"QFI\xfb" + bytes(100), "qemu-img convert -O raw FILE RAW"),
        (b"LibvirtQemudSave" + bytes(100), "virsh dump --memory-only --format elf"),
        (b"\xd2\xbe\xd2\xbe" + bytes(100), "mount the .vmem beside it"),
        (b"PAGEDU64" + bytes(100), "a Windows crash dump: windbg or volatility3 read it"),
        (b"\x7fVirtualBox SavedState V2.0\n" + bytes(100), "VBoxManage debugvm VM dumpvmcore"),
        (b"\xa8\x19\x01\x73\x61\x8f\x23\xfd" + bytes(100), "zgetdump -f elf FILE > CORE"),
        (bytes(8192), "no crash dump's ELF header in it"),
        (b"\x7fELF" + bytes(100), "broken ELF header"),
        (Blob([Segment(LOAD, 0x1000, 8)], fields={"type": 2}).pack(), "not a core"),
        (Blob([Segment(NOTE, 0x1000, 8)]).pack(), "no PT_LOAD"),
        (Blob([Segment(LOAD, 0x1000, 8)], phnum=60000).pack(), "of 0x334500 bytes (at 0x"),
        (Blob([Segment(LOAD, 0x1000, 8, filesz=9)]).pack(), "p_filesz above p_memsz"),
        (Blob([Segment(LOAD, 0x1000, 8, paddr=0)] * 2).pack(), "the core of a process"),
    ],
)
def test_files_that_are_no_dump(tmp_path: Path, data: bytes, told: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    done = run(*OLDMEMFS, "--list", str(path))
    assert done.returncode in (1, 2)
    assert told in done.stderr
    assert done.stderr.count(str(path)) == 1
    assert done.stderr.count("\n") == 1
    assert path.read_bytes() == data


def test_the_advice_for_a_lime_image_works(tmp_path: Path) -> None:
    """Two records, each behind a header of 32 bytes; the image starts as LiME's do."""
    image = crashed([Segment(LOAD, 0x20000, 0x4000)])
    ram = bytes(image.data)
    path = tmp_path / "ram.lime"
    with path.open("wb") as file:
        for start, end in ((0, 0x10000), (0x20000, 0x24000)):
            file.write(struct.pack("<4sIQQ8x", b"EMiL", 1, start, end - 1) + ram[start:end])
    options = "source=raw,ram=0-10000@20:20000-24000@10040"
    data, faults = read_all(plan_of(catalog_of(str(path), options), "vmcore"))
    assert (data, faults) == (vmcore_of(ram, HEADER), [])


def test_a_vmem_above_3_gib_is_told_its_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(_: object, path: str) -> int:
        raise UsageError(f"{path}: no header")

    monkeypatch.setattr(findheader, "find", find)  # the search through 4 GiB takes its time
    path = tmp_path / "vm.vmem"
    for size, options, wanted in (
        (4 << 30, "", "; a .vmem of this size needs -o "),
        (4 << 30, "ram=0-1000@0", ""),
        (3 << 30, "", ""),
    ):
        with path.open("wb") as file:
            file.truncate(size)
        with pytest.raises(UsageError) as caught:
            open_source(str(path), parse([options, "source=raw"]))
        error, _, ram = str(caught.value).partition("ram=")
        assert error == f"{path}: no header{wanted}"
        if ram:  # as QEMU's pc, which has the same hole
            assert parse(["ram=" + ram]).ram == raw.machine_map("pc", size)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "core"
    path.touch()
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read anything
    with pytest.raises(SourceError, match=f"^{path}: no permission to read it; run this as root"):
        open_source(str(path), parse([]))


def test_a_page_size_that_vmcoreinfo_does_not_have_is_warned_of(ram: str) -> None:
    warned = catalog_of(ram, "page_size=65536").dump.warnings
    assert [w for w in warned if w.startswith("-o page_size=65536: VMCOREINFO says PAGESIZE=4096;")]
    assert not [w for w in catalog_of(ram, "page_size=4096").dump.warnings if "page_size" in w]


def test_two_headers_in_one_image_are_for_the_user_to_choose(tmp_path: Path) -> None:
    image = crashed([Segment(LOAD, 0x20000, 0x4000)])
    other = crashed([Segment(LOAD, 0x30000, 0x4000)])
    image.put(0x10000, bytes(other.data[HEADER : HEADER + 0x1000]))
    path = image.write(tmp_path / "ram")
    done = run(*OLDMEMFS, "--list", path)
    assert done.returncode == 2
    assert "give one of -o elfcorehdr=0x8000, 0x10000" in done.stderr
    told = run(*OLDMEMFS, "--list", path, "-o", "elfcorehdr=0x10000").stdout
    assert "0x4000 memory 0x0000000000030000 PT_LOAD" in told


def test_a_truncated_core_is_served_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "core"
    blob = Blob([Segment(NOTE, 176, 12), Segment(LOAD, 0x1000, 0x8000, paddr=0x100000)])
    path.write_bytes(blob.pack().ljust(0x5000, b"x"))
    done = run(*OLDMEMFS, "--list", str(path))
    assert done.returncode == 1  # it has no VMCOREINFO: that view cannot be read
    assert "truncated: its headers describe 0x9000 bytes, it has 0x5000" in done.stderr
    assert "0x000000000000         0x9000 memory" in done.stdout
    assert "vmcoreinfo:\ncannot be read:" in done.stdout


def test_list_shows_every_layout(ram: str) -> None:
    done = run(*OLDMEMFS, "--list", ram)
    assert (done.returncode, done.stderr) == (1, "")  # there is no log in it
    names = [w[:-1] for w in done.stdout.splitlines() if w.endswith(":")]
    assert names[:4] == ["vmcore", "vmcore-kern", "filter-report", "oldmem"]
    assert names[-1] == "vmcoreinfo"
    assert "0x4000 memory 0x0000000000020000 PT_LOAD" in done.stdout


def test_help_fits_a_screen_and_version_is_a_line() -> None:
    told = run(*OLDMEMFS, "--help")
    assert told.returncode == 0
    assert len(told.stdout.splitlines()) <= 40
    assert max(map(len, told.stdout.splitlines())) <= 100
    assert run(*OLDMEMFS, "--version").stdout.startswith("oldmemfs 0.")


def verdicts(capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str], list[str]]:
    """--check's status, verdicts, and all its lines."""
    status = check.report(parse([]))
    lines = capsys.readouterr().out.splitlines()
    assert all(line[:5] in ("ok   ", "no   ", "--   ", "==>  ") for line in lines)
    return status, [line[5:] for line in lines if line.startswith("==>")], lines


def test_check_has_two_verdicts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On a machine that is no capture kernel, with and without what the next crash needs."""
    monkeypatch.setattr(check, "_VMCORE", str(tmp_path / "vmcore"))
    monkeypatch.setattr(check, "_KEXEC", str(tmp_path / "kexec"))
    monkeypatch.setattr(liveheader, "address", lambda: (None, "no elfcorehdr="))
    monkeypatch.setattr(check, "_mounting", lambda: iter([(True, "fuse")]))
    status, told, lines = verdicts(capsys)
    assert status == 0, "images can be mounted: nothing is wrong"
    assert told == [
        "images and saved cores can be mounted here: oldmemfs IMAGE MOUNTPOINT",
        "a crash of this machine would start no capture kernel; fix what is marked no above",
    ]
    assert "--   this is no capture kernel, so there is no old memory here: no elfcorehdr=" in lines
    assert any("crashkernel=192M" in line for line in lines)
    (tmp_path / "kexec_size").write_text("201326592\n")
    (tmp_path / "kexec_loaded").write_text("1\n")
    status, told, lines = verdicts(capsys)
    assert (status, told[1]) == (0, "a crash of this machine would start a capture kernel")
    assert "ok   192 MiB are set aside for a capture kernel" in lines
    monkeypatch.setattr(check, "_mounting", lambda: iter([(False, "no fuse")]))
    status, told, _ = verdicts(capsys)
    assert (status, told[0]) == (1, "images and saved cores cannot be mounted here")


def test_check_in_a_capture_kernel_is_about_its_old_memory(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveheader, "address", lambda: (0x8000, "elfcorehdr="))
    monkeypatch.setattr(check, "_mounting", lambda: iter([(True, "fuse")]))
    for readable, verdict in (
        (True, "the dead kernel's memory can be mounted here: oldmemfs MOUNTPOINT"),
        (
            False,
            "the dead kernel's memory cannot be mounted here; fix what is marked no above",
        ),
    ):
        monkeypatch.setattr(check, "_source", lambda _, told=readable: (told, "source"))
        status, told, lines = verdicts(capsys)
        assert (status, told[1]) == (int(not readable), verdict)
        assert "ok   the crash's ELF header is at 0x8000, according to elfcorehdr=" in lines


def test_check_by_the_command() -> None:
    told = run(*OLDMEMFS, "--check")
    assert told.stderr == ""
    assert "/dev/fuse" in told.stdout.splitlines()[0]
    assert sum(line.startswith("==>") for line in told.stdout.splitlines()) == 2


def test_forms_of_the_command_line() -> None:
    plain = read_arguments("oldmemfs", ["/mnt", "-o", "rw,dev,suid"])
    assert (plain.action, plain.names, plain.lists) == ("mount", ["/mnt"], ["rw,dev,suid"])
    helper = read_arguments("/sbin/mount.oldmemfs", ["img", "/mnt", "-sn", "-o", "ro"])
    assert (helper.action, helper.names, helper.foreground) == ("mount", ["img", "/mnt"], False)
    assert read_arguments("/sbin/mount.oldmemfs", ["img", "/mnt", "-f"]).action == "nothing"
    assert read_arguments("oldmemfs", ["-f", "-ostrict", "a", "b"]).lists == ["strict"]
    assert read_arguments("oldmemfs", ["--", "-a", "-b"]).names == ["-a", "-b"]
    many = read_arguments("oldmemfs", ["--json", "--info", "a", "b", "--scan"])
    assert (many.action, many.names, many.json, many.scan) == ("info", ["a", "b"], True, True)
    with pytest.raises(UsageError):
        read_arguments("oldmemfs", ["-s"])
    with pytest.raises(UsageError, match="--scan and --json go with --info"):
        read_arguments("oldmemfs", ["--list", "--json", "a"])


def test_options() -> None:
    assert parse(["ram=0-1000@0:0x100000000-0x100001000@1000", "ram=2000-3000@2000"]).ram == (
        Piece(Range(0, 0x1000), 0), Piece(Range(1 << 32, (1 << 32) + 0x1000), 0x1000),
        Piece(Range(0x2000, 0x3000), 0x2000),
    )  # fmt: skip
    assert parse(["elfcorehdr=425332K"]).elfcorehdr == 425332 << 10
    assert parse(["elfcorehdr=./hdr"]).elfcorehdr == "./hdr"
    assert parse(["rw,_netdev,x-systemd.automount,comment=x,noauto"]) == parse([])
    assert parse(["allow_other"]).allow == {"allow_other"}
    assert (number("0x10"), number("10k"), number("1G")) == (16, 10240, 1 << 30)
    for wrong in ("", "0x", "1Q", "-1", "0x1_0", "99999999999999999999"):
        with pytest.raises(UsageError):
            number(wrong)


def test_ram_map_beyond_the_image(tmp_path: Path) -> None:
    path = Image(4096).write(tmp_path / "ram")
    done = run(*OLDMEMFS, "--list", path, "-o", "ram=0-2000@0")
    assert done.returncode == 2
    assert "0x1000 bytes; -o ram=0x0-0x2000@0x0 ends at 0x2000" in done.stderr
    done = run(*OLDMEMFS, "--list", path, "-o", "ram=0-800@0:400-c00@400")
    assert "overlap" in done.stderr
