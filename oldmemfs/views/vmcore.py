# SPDX-License-Identifier: MIT
"""`vmcore`: the whole dump, byte for byte as the capture kernel's /proc/vmcore."""

from operator import attrgetter

from .catalog import View

VIEW = View(
    "vmcore", attrgetter("core"), "crash, drgn, gdb, makedumpfile", memory=attrgetter("present")
)
