# SPDX-License-Identifier: MIT
"""File formats that oldmemfs cannot read: recognised by their magic, to say what to do instead."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import FormatError

if TYPE_CHECKING:
    from ..options import Options

LOOK = 32  # bytes at the start of the file: no magic is longer
_GIB = 1 << 30
_VMWARE = (
    "a VMware state file (vmss, vmsn): mount the .vmem beside it; where there is none, crash reads "
    "this file itself"
)
_WINDOWS = "a Windows crash dump: windbg or volatility3 read it; only Linux is understood here"
_DISK = (
    "a {} disk image: memory kept in it comes out with qemu-img convert -O raw FILE RAW; for the "
    "memory of the running VM use virsh dump --memory-only DOMAIN FILE"
)
_LIBVIRT = (
    "a libvirt save file: run virsh restore --paused FILE, then virsh dump --memory-only "
    "--format elf DOMAIN CORE"
)

# (magic at offset 0, what the file is and what to do): the first that matches is used.
_FORMATS = (
    (b"KDUMP   ", "a kdump-compressed dump: open it with crash or drgn"),
    (b"DISKDUMP", "a diskdump dump: open it with crash"),
    (b"makedumpfile\0", "a flattened dump: run makedumpfile -R DUMP < FILE first"),
    (
        b"EMiL",
        (
            "a LiME image: give -o source=raw,ram=START-END@OFFSET:... with a part for each record "
            "(OFFSET: behind its 32 bytes of header; END: LiME's e_addr + 1), or record it with "
            "format=padded"
        ),
    ),
    (b"LiME", "a LiME image of a big-endian machine: record it with format=padded"),
    (b"AVML", "an AVML image: run avml-convert --format raw first"),
    (b"QEVM", "a QEMU migration stream: use dump-guest-memory or a memory-backend-file"),
    (b"LibvirtQemudSave", _LIBVIRT),
    (b"LibvirtQemudPart", "an unfinished libvirt save file: virsh save did not end"),
    (b"QFI\xfb", _DISK.format("qcow2")),
    (b"KDMV", _DISK.format("VMDK")),
    (b"vhdxfile", _DISK.format("VHDX")),
    (b"conectix", _DISK.format("VHD")),
    (b"\xd0\xbe\xd2\xbe", _VMWARE),
    (b"\xd1\xba\xd1\xba", _VMWARE),
    (b"\xd2\xbe\xd2\xbe", _VMWARE),
    (b"\xd3\xbe\xd3\xbe", _VMWARE),
    (
        b"\x7fVirtualBox SavedState",
        (
            "a VirtualBox saved state: start the VM, then run VBoxManage debugvm VM dumpvmcore "
            "--filename CORE"
        ),
    ),
    (b"PAGEDUMP", _WINDOWS),
    (b"PAGEDU64", _WINDOWS),
    (b"MDMP", "a Windows minidump of one process: windbg reads it"),
    (b"sadump\0\0", "a SADUMP dump of Fujitsu's firmware: open it with crash"),
    (
        b"\xa8\x19\x01\x73\x61\x8f\x23\xfd",
        "an s390 stand-alone dump: run zgetdump -f elf FILE > CORE first",
    ),
    (
        b"\xa8\x19\x01\x73\x61\x8f\x23\xfe",
        "an extended s390 stand-alone dump: run zgetdump -f elf FILE > CORE first",
    ),
    (b"\x04\x22\x4d\x18", "compressed with lz4: decompress it first"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: decompress it first"),
    (b"\x1f\x8b", "compressed with gzip: decompress it first"),
    (b"\xfd7zXZ", "compressed with xz: decompress it first"),
    (b"\x89LZO\0", "compressed with lzop: decompress it first"),
)


def refuse(path: str, start: bytes) -> None:
    """Raise ``FormatError`` if ``start``, the file's first ``LOOK`` bytes, has a known magic."""
    for magic, advice in _FORMATS:
        if start.startswith(magic):
            raise FormatError(f"{path}: this is {advice}")


def memory_map(path: str, options: Options) -> str:
    """The -o ram= that a VMware .vmem of more than 3 GiB needs, to be added to an error; or "".

    VMware's machines have no memory from 3 to 4 GiB, and the file has no hole there.
    """
    size = os.stat(path).st_size
    if not path.endswith(".vmem") or size <= 3 * _GIB or options.ram:
        return ""
    high = f"{4 * _GIB:x}-{size + _GIB:x}@{3 * _GIB:x}"
    return f"; a .vmem of this size needs -o ram=0-{3 * _GIB:x}@0:{high}"
