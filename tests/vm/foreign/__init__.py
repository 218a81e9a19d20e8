# SPDX-License-Identifier: MIT
"""Real crashes of other architectures than the host's.

QEMU emulates the machine, a busybox shell is all that runs in it. Its memory stays behind, and what
oldmemfs on the host makes of that is held against what the capture kernel wrote to disks:
/proc/vmcore, vmcore-dmesg's log, the pages that makedumpfile keeps; and against what the first
kernel said of its pages just before it crashed.

targets   the table of machines
build     initramfs, boot, crash
crashed   what is left of a machine
checks, pagechecks, registry   what must hold of it
"""
