# SPDX-License-Identifier: MIT
"""The command line: reads the arguments, does what they say, prints errors, and exits.

Exit status: 0 success, 1 failure, 2 usage error, 130 after Ctrl-C.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import sys
import textwrap
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, NoReturn

from . import __version__
from .commands.output import put, visible
from .errors import OldmemError, UsageError, shortage
from .options import WORDS, Options, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE = """\
usage: oldmemfs [SOURCE] MOUNTPOINT [-o OPTION[,OPTION...]] [-f] [-d]
       oldmemfs --list [SOURCE] [-o ...]      every view's layout, without mounting
       oldmemfs --info [SOURCE] [-o ...]      the summary; with --scan vmcore-kern's size, too;
                                              with --json a line for each of several SOURCEs
       oldmemfs --check                       what this machine has, lacks, and how to fix it
       oldmemfs --payload OUT                 what an initramfs needs: a folder, or .cpio[.zst|.xz]
       oldmemfs --setup-debian                let kdump-tools save its dumps through oldmemfs
       oldmemfs --version | --help

Mounts a crashed kernel's memory as files: vmcore, vmcore-kern, dmesg, registers ...
SOURCE: none for a capture kernel (/dev/mem and /proc/vmcore), or a RAM image, or an ELF core.

  -f                      stay in the foreground
  -d                      the same, and show every FUSE request
"""


def help_text() -> str:
    """The text of --help: ``USAGE``, and the entries of ``options.WORDS``."""
    lines = []
    for word in WORDS:
        head = f"  -o {word.name}{'=' * bool(word.takes)}{word.takes} "
        says = textwrap.wrap(word.says.replace("*", ""), 100 - _COLUMN)
        if len(head) > _COLUMN:
            lines.append(head.rstrip())
            head = ""
        lines += [
            f"{first:<{_COLUMN}}{text}" for first, text in zip_longest([head], says, fillvalue="")
        ]
    return USAGE + "".join(f"{line}\n" for line in lines)


_COLUMN = 26  # of --help, where the explanations begin
# Names that mount(8) and fstab have in the place of the source when there is none.
_NO_SOURCE = ("none", "oldmemfs", "")
_log = logging.getLogger(__name__)


@dataclass
class Command:
    """What the command line says.

    ``names`` are the arguments that are no options, ``lists`` the values of all -o.
    """

    action: str = "mount"
    names: list[str] = field(default_factory=list)
    lists: list[str] = field(default_factory=list)
    foreground: bool = False
    debug: bool = False
    scan: bool = False
    json: bool = False


def read_arguments(program: str, arguments: Sequence[str]) -> Command:
    """The command line, in the form of the program and in that of mount(8)'s helpers.

    ``program`` is argv[0]. mount(8) calls ``mount.oldmemfs SOURCE DIR [-sfnv] [-o LIST]``; there -f
    means that nothing is to be mounted (fake).

    Raises ``UsageError``.
    """
    if arguments[:1] in (["--payload"], ["--setup-debian"]):  # the words behind are their own
        return Command(arguments[0][2:], list(arguments[1:]))
    command = Command()
    helper = os.path.basename(program).startswith("mount.")
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "-o" or word in ("-t", "-N"):
            if not rest:
                raise UsageError(f"{word}: needs a value")
            value = rest.pop(0)
            if word == "-o":
                command.lists.append(value)
        elif word.startswith("-o") and not word.startswith("--"):
            command.lists.append(word[2:])
        elif word in ("--list", "--info", "--check", "--version", "--help", "-h", "-V"):
            command.action = {"-h": "help", "-V": "version"}.get(word, word[2:])
        elif word in ("--scan", "--json"):
            command.scan |= word == "--scan"
            command.json |= word == "--json"
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
    if (command.scan or command.json) and command.action != "info":
        raise UsageError("--scan and --json go with --info")
    return command


def _source(name: str) -> str | None:
    """The path of the source; None if ``name`` stands for "no source" in mount(8) or fstab.

    A regular file or block device of such a name is taken for the source, with a warning.
    """
    if name not in _NO_SOURCE:
        return name
    try:
        mode = os.stat(name).st_mode
    except OSError:
        return None
    if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
        return None
    _log.warning("the file %s is taken for the image", visible(os.path.realpath(name)))
    return name


def _mount(command: Command, options: Options) -> int:
    if not 1 <= len(command.names) <= 2:
        raise UsageError("give [SOURCE] MOUNTPOINT; oldmemfs --help shows how")
    from .commands import show
    from .fuse import bind, mount
    from .host import daemon, notify

    mountpoint = os.path.realpath(command.names[-1])
    path = _source(command.names[0]) if len(command.names) == 2 else None
    mount.check_mountpoint(mountpoint)
    if options.bind:
        bind.check_target(options.bind)
    notify.tell("STATUS=opening old memory")
    catalog = show.open_catalog(path, options)
    if options.bind:
        bind.check_view(options.bind, [view.name for view in catalog.views])
    manner = mount.MountSettings(
        strict=options.strict,
        direct_io=options.cache != "pages",
        allow=options.allow,
        # -d makes libfuse log its requests, and reads that C answers do not go through libfuse
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
        serving = f"serving {catalog.dump.source} on {mountpoint}{over}"
        notify.tell("READY=1", f"STATUS={serving}")
        if command.foreground:
            with contextlib.suppress(OldmemError, SystemExit):  # the mount works without it
                put(f"oldmemfs: {visible(serving)}; umount, or Ctrl-C, ends it\n")

    if path is None:  # a capture kernel: little memory, and old memory is lost at the next boot
        daemon.outlive_others()
    follow = daemon.follow_root if daemon.survive_switch_root() else None
    notify.tell("STATUS=preparing the views")
    mount.mount_and_serve(catalog, mountpoint, manner, ready, follow)
    notify.tell("STOPPING=1")
    return 0


def run(command: Command) -> int:
    """Do what the command line says; returns the exit status. Raises ``OldmemError``."""
    options = parse(command.lists)
    if command.action in ("list", "info"):
        from .commands import show

        paths = [_source(name) for name in command.names] or [None]
        if command.action == "list":
            return show.layouts(paths, options)
        return show.info(paths, options, scan=command.scan, as_json=command.json)
    if command.action == "check":
        from .commands import check

        return check.report(options)
    if command.action == "payload":
        from .commands import payload

        return payload.main(command.names)
    if command.action == "setup-debian":
        from .commands import debian

        debian.main(command.names)
    if command.action == "help":
        put(help_text())
    elif command.action == "version":
        put(f"oldmemfs {__version__}\n")
    elif command.action == "mount":
        return _mount(command, options)
    return 0


def _open_standard_files() -> None:
    """Open /dev/null as descriptor 0, 1 and 2 if they are closed.

    init and daemons may start programs without them. The image could then be opened as, say,
    descriptor 1, and would be replaced when ``daemon.detach`` puts /dev/null there.
    """
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(fd)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: fd
            os.set_inheritable(null, True)
        if getattr(sys, name) is None:  # Python sets it so if the descriptor is closed
            setattr(sys, name, os.fdopen(fd, mode, closefd=False))


def _run(arguments: Sequence[str]) -> int:
    try:
        return run(read_arguments(arguments[0], arguments[1:]))
    except UsageError as error:
        print(f"oldmemfs: {visible(str(error))}", file=sys.stderr)
        return 2
    except OldmemError as error:
        print(f"oldmemfs: {visible(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    # A shared library that finds not enough memory; CPython's import then raises SystemError, too.
    except (ImportError, SystemError) as error:
        print(f"oldmemfs: cannot load a module: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        if (short := shortage(error)) is None:
            raise
        print(f"oldmemfs: {short}", file=sys.stderr)
        return 1


def main() -> NoReturn:
    """Entry point: exits with 0 for success, 1 for a failure, 2 for a usage error."""
    _open_standard_files()
    logging.basicConfig(format="oldmemfs: %(message)s", level=logging.WARNING)
    status = _run(sys.argv)
    # Threads may still wait for a source that hangs, or work on an abandoned scan. A normal exit of
    # the interpreter would wait for them, or free memory that they use.
    sys.stdout.flush()
    os._exit(status)
