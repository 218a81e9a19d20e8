"""`vmcore`: the whole dump, byte for byte what the capture kernel's /proc/vmcore holds."""

from operator import attrgetter

from ..view import View

VIEW = View("vmcore", layout=attrgetter("core"), memory=attrgetter("present"))
