"""The command: arguments in, exit status out. The only place that prints and exits."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import __version__, views
from .badpages import BadPages
from .errors import OldmemError, UsageError
from .options import Options, parse
from .plan import Plan
from .sources import open_source
from .view import Catalog, LiveView, View

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE = """\
usage: oldmemfs [SOURCE] MOUNTPOINT [-o OPTION[,OPTION...]] [-f] [-d]
       oldmemfs --list [SOURCE] [-o ...]      every view's layout, without mounting
       oldmemfs --info [SOURCE] [-o ...]      the summary, without mounting
       oldmemfs --check                       what this machine has, lacks, and how to mend it
       oldmemfs --version | --help

Mounts a crashed kernel's memory as files: vmcore, vmcore-kern, dmesg, registers ...
SOURCE: none for a capture kernel (/dev/mem and /proc/vmcore), or a RAM image, or an ELF core.

  -f                      stay in the foreground
  -d                      the same, and show every FUSE request
  -o source=KIND          devmem, elf or raw, instead of finding out
  -o elfcorehdr=ADDR|FILE the crash's ELF header: its address in memory, or a file
  -o ram=START-END@OFF    image: physical START-END (hex, END not included) is at file offset OFF;
                          several with ':' between them
  -o machine=NAME         image of a QEMU machine: pc, q35, microvm, virt, riscv-virt
  -o page_size=N          image: the capture kernel's page size (from VMCOREINFO if not given)
  -o note_align=0|4       image: p_align of vmcore's PT_NOTE (4 since Linux 6.5)
  -o layout=packed        image: vmcore as kernels before 3.11 make it
  -o arch=NAME|any        refuse a header that is for another machine, or take any
  -o notes=skip           go on without ELF notes that cannot be read
  -o dump_level=N         what vmcore-kern leaves out, as makedumpfile -d (31)
  -o strict               EIO for what cannot be read, instead of zeros and a line in badpages
  -o bind=VIEW[:FILE]     mount that view over /proc/vmcore (or FILE) as well
  -o cache=none|pages     read past the page cache, or through it
  -o reads=c|python       answer reads in C threads (root's default) or in Python
  -o allow_other          let other users in
"""

# What mount(8) and fstab put where no source is meant.
_MOST_WARNINGS = 100  # on the terminal; `status` has more
_NO_SOURCE = ("none", "oldmemfs", "")


@dataclass
class Command:
    """The command line, read."""

    action: str = "mount"
    names: list[str] = field(default_factory=list)
    lists: list[str] = field(default_factory=list)
    foreground: bool = False
    debug: bool = False


def read_arguments(program: str, arguments: Sequence[str]) -> Command:
    """The command line, as users and as mount(8) write it.

    mount(8) calls ``mount.oldmemfs SOURCE DIR [-sfnv] [-o LIST]``; there -f means "do nothing".
    """
    command = Command()
    helper = os.path.basename(program).startswith("mount.")
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "-o" or word in ("-t", "-N"):
            if not rest:
                raise UsageError(f"{word}: what follows is missing")
            value = rest.pop(0)
            if word == "-o":
                command.lists.append(value)
        elif word.startswith("-o") and not word.startswith("--"):
            command.lists.append(word[2:])
        elif word in ("--list", "--info", "--check", "--version", "--help", "-h", "-V"):
            command.action = {"-h": "help", "-V": "version"}.get(word, word[2:])
        elif word == "--":
            command.names += rest
            break
        elif helper and word.startswith("-") and set(word[1:]) <= set("sfnvrw"):
            if "f" in word:
                command.action = "nothing"
        elif word in ("-f", "-d"):
            command.foreground = True
            command.debug |= word == "-d"
        elif word.startswith("-"):
            raise UsageError(f"{word}: no such option; oldmemfs --help lists them")
        else:
            command.names.append(word)
    return command


def _visible(text: str) -> str:
    """One line, with escapes for what no terminal shows: names and notes may hold anything."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _source(name: str) -> str | None:
    return None if name in _NO_SOURCE and not os.path.exists(name or "none") else name


def _open(path: str | None, options: Options) -> Catalog:
    dump = open_source(path, options)
    catalog = Catalog(dump, views.of(dump, options), BadPages())
    log, warnings = logging.getLogger(__name__), catalog.dump.warnings
    for warning in warnings[:_MOST_WARNINGS]:
        log.warning("%s", _visible(warning))
    if len(warnings) > _MOST_WARNINGS:
        log.warning("%d more warnings", len(warnings) - _MOST_WARNINGS)
    return catalog


def _list(names: Sequence[str], options: Options) -> int:
    if len(names) > 1:
        raise UsageError("--list takes one SOURCE")
    catalog = _open(_source(names[0]) if names else None, options)
    failed = False
    for view in catalog.views:
        if not isinstance(view, View):
            continue
        plan = catalog.outcome(view)
        print(f"{view.name}:")
        if isinstance(plan, Plan):
            print(plan.layout.describe(), end="")
        else:
            failed = True
            print(f"cannot be read: {plan}")
    return int(failed)


def _info(names: Sequence[str], options: Options) -> int:
    if len(names) > 1:
        raise UsageError("--info takes one SOURCE")
    catalog = _open(_source(names[0]) if names else None, options)
    (summary,) = (v for v in catalog.views if v.name == "summary")
    assert isinstance(summary, LiveView)
    print(summary.text(catalog), end="")
    return 0


def _mount(command: Command, options: Options) -> int:
    if not 1 <= len(command.names) <= 2:
        raise UsageError("give [SOURCE] MOUNTPOINT; oldmemfs --help shows how")
    from . import bind, daemon, mount, notify

    mountpoint = os.path.realpath(command.names[-1])
    path = _source(command.names[0]) if len(command.names) == 2 else None
    mount.check_mountpoint(mountpoint)
    if options.bind:
        bind.check_target(options.bind)
    notify.tell("STATUS=opening old memory")
    catalog = _open(path, options)
    if options.bind:
        bind.check_view(options.bind, [view.name for view in catalog.views])
    manner = mount.Manner(
        strict=options.strict,
        direct_io=options.cache != "pages",
        allow=options.allow,
        # -d shows what passes through libfuse, and reads in C do not
        in_c=(options.reads or ("python" if command.debug or os.getuid() else "c")) == "c",
        debug=command.debug,
        name=os.path.abspath(path) if path else "oldmemfs",
        bind=options.bind,
    )
    leave = None if command.foreground else daemon.detach()

    def ready() -> None:
        if leave:
            leave()
        over = f", {options.bind.view} over {options.bind.target}" if options.bind else ""
        notify.tell("READY=1", f"STATUS=serving {catalog.dump.source} on {mountpoint}{over}")

    if path is None:  # a capture kernel, with little memory and one chance
        daemon.outlive_others()
    follow = daemon.follow_root if daemon.survive_switch_root() else None
    notify.tell("STATUS=preparing the views")
    mount.serve(catalog, mountpoint, manner, ready, follow)
    notify.tell("STOPPING=1")
    return 0


def run(command: Command) -> int:
    """Do what the command line says; the exit status."""
    options = parse(command.lists)
    if command.action == "list":
        return _list(command.names, options)
    if command.action == "info":
        return _info(command.names, options)
    if command.action == "check":
        from . import check

        return check.report(options)
    if command.action == "help":
        print(USAGE, end="")
    elif command.action == "version":
        print(f"oldmemfs {__version__}")
    elif command.action == "mount":
        return _mount(command, options)
    return 0


def main() -> int:
    """Entry point: 0, 1 for what cannot be done, 2 for what cannot be meant."""
    logging.basicConfig(format="oldmemfs: %(message)s", level=logging.WARNING)
    try:
        return run(read_arguments(sys.argv[0], sys.argv[1:]))
    except UsageError as error:
        print(f"oldmemfs: {_visible(str(error))}", file=sys.stderr)
        return 2
    except OldmemError as error:
        print(f"oldmemfs: {_visible(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
