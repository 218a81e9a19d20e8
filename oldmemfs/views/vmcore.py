"""`vmcore`: the whole dump, byte for byte what the capture kernel's /proc/vmcore holds."""

from operator import attrgetter

from .catalog import View

VIEW = View(
    "vmcore", attrgetter("core"), "crash, drgn, gdb, makedumpfile", memory=attrgetter("present")
)
