# SPDX-License-Identifier: MIT
"""What the kernel of the demo printed: it boots, works for a day, and dies of a NULL pointer."""

from __future__ import annotations

from support.rings import Message

RELEASE = "6.12.9-demo"
CPU, PID, COMM = 1, 812, "backup"
_HARDWARE = "Example Machine, BIOS 1.0 01/01/2026"
_DAY = 86_400_000_000_000
# Nanoseconds between two lines; one number for all keeps the table short.
_STEP = 1_370_000

_BOOT = f"""\
5 Linux version {RELEASE} (builder@example) (gcc 14.2.0) #1 SMP
6 Command line: root=/dev/vda1 ro quiet crashkernel=192M
6 BIOS-provided physical RAM map:
6 BIOS-e820: [mem 0x0000000000000000-0x0000000003ffffff] usable
6 DMI: {_HARDWARE}
6 tsc: Detected 2400.000 MHz processor
5 Kernel command line: root=/dev/vda1 ro quiet crashkernel=192M
6 Memory: 41216K/65536K available
6 smpboot: Allowing 2 CPUs, 0 hotplug CPUs
6 smp: Brought up 1 node, 2 CPUs
6 virtio_blk virtio0: [vda] 8388608 512-byte logical blocks
6 EXT4-fs (vda1): mounted filesystem r/o with ordered data mode
6 Run /sbin/init as init process"""

_LOADED = """\
4 example: loading out-of-tree module taints kernel.
6 example: /dev/example is ready"""

_DEATH = f"""\
1 BUG: kernel NULL pointer dereference, address: 0000000000000018
1 #PF: supervisor read access in kernel mode
1 #PF: error_code(0x0000) - not-present page
6 PGD 0 P4D 0
4 Oops: Oops: 0000 [#1] SMP NOPTI
4 CPU: {CPU} UID: 0 PID: {PID} Comm: {COMM} Kdump: loaded Tainted: G           O       {RELEASE} #1
4 Tainted: [O]=OOT_MODULE
4 Hardware name: {_HARDWARE}
4 RIP: 0010:example_read+0x12/0x40 [example]
4 Call Trace:
4  <TASK>
4  vfs_read+0xbc/0x310
4  ksys_read+0x6f/0xf0
4  do_syscall_64+0x82/0x190
4  entry_SYSCALL_64_after_hwframe+0x76/0x7e
4  </TASK>
4 Modules linked in: example(O)
4 CR2: 0000000000000018
0 Kernel panic - not syncing: Fatal exception
0 Kernel Offset: 0x1a200000 from 0xffffffff81000000"""


def _from(start: int, text: str) -> list[Message]:
    """Messages from lines of the form "LEVEL TEXT", the first one at ``start`` nanoseconds."""
    lines = enumerate(text.splitlines())
    return [Message(line[2:].encode(), start + i * _STEP, int(line[0])) for i, line in lines]


MESSAGES = [*_from(0, _BOOT), *_from(5_000_000_000, _LOADED), *_from(_DAY, _DEATH)]


def text() -> str:
    """The log as vmcore-dmesg prints it."""
    return "".join(
        f"[{m.ts_nsec // 10**9:5}.{m.ts_nsec % 10**9 // 1000:06}] {m.text.decode()}\n"
        for m in MESSAGES
    )
