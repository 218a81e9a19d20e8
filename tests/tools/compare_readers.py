# SPDX-License-Identifier: MIT
"""The programs that people open dumps with, on ``vmcore`` and on ``vmcore-kern``, compared.

::

    python tests/tools/compare_readers.py IMAGE VMLINUX [NAME=COMMAND...] [--keep DIR]

Mounts the image, lets every reader that is installed print what it can of both files, and says in
a Markdown table whether that was the same. ``crash="ld.so --library-path DIR crash"`` names
another program than the one in PATH; NAME alone asks for these readers only. VMLINUX has the debug
symbols of the kernel (Debian: linux-image-*-dbg). ``--keep`` leaves what they printed in DIR.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.mounting import mounted
from tools.compare_makedumpfile import kept_pages, log, refilter
from tools.compare_scripts import CRASH, DRGN, GDB, VOLATILITY

if TYPE_CHECKING:
    from collections.abc import Callable

FILES = ("vmcore", "vmcore-kern")
SECONDS = 300
_VOLATILITY = "import volatility3.framework.constants as c; print(c.PACKAGE_VERSION)"


@dataclass
class Bench:
    """What the readers work with."""

    vmlinux: str
    scratch: Path
    offset: str  # KASLR's
    programs: dict[str, list[str]] = field(default_factory=dict)

    def run(self, reader: str, *words: str, stdin: str = "") -> bytes:
        """What the reader prints; an error is part of it."""
        command = [*self.programs[reader], *words]
        done = subprocess.run(
            command, input=stdin.encode(), capture_output=True, timeout=SECONDS, check=False
        )
        if done.returncode:
            return done.stdout + f"\nstatus {done.returncode}: ".encode() + done.stderr
        return done.stdout

    def script(self, name: str, text: str) -> str:
        """A file that holds ``text``."""
        path = self.scratch / name
        path.write_text(text)
        return str(path)


def crash(bench: Bench, core: str) -> bytes:
    return bench.run("crash", "-s", "-i", bench.script("crash", CRASH), bench.vmlinux, core)


def drgn(bench: Bench, core: str) -> bytes:
    return bench.run("drgn", "-q", "-c", core, "-s", bench.vmlinux, bench.script("d.py", DRGN))


def gdb(bench: Bench, core: str) -> bytes:
    symbols = f"add-symbol-file {bench.vmlinux} -o 0x{bench.offset}\n"
    script = bench.script("gdb", "set pagination off\nset confirm off\n" + symbols + GDB)
    return bench.run("gdb", "-q", "-nx", "-batch", "-c", core, "-x", script)


def volatility(bench: Bench, core: str) -> bytes:
    return bench.run("volatility3", bench.script("v.py", VOLATILITY), core)


def makedumpfile(bench: Bench, core: str) -> bytes:
    small = bench.scratch / "refiltered"
    try:
        printed = refilter(bench.programs["makedumpfile"], core, small)
        return printed + kept_pages(small)
    finally:
        small.unlink(missing_ok=True)


def makedumpfile_log(bench: Bench, core: str) -> bytes:
    return log(bench.programs["makedumpfile"], core, bench.scratch / "log")


def vmcore_dmesg(bench: Bench, core: str) -> bytes:
    return bench.run("vmcore-dmesg", core)


def readelf(bench: Bench, core: str) -> bytes:
    """The notes and any complaint; the PT_LOADs are not the same, of course."""
    return _elf(bench.run("readelf", "-hlnW", core))


def eu_readelf(bench: Bench, core: str) -> bytes:
    return _elf(bench.run("eu-readelf", "-hln", core))


def _elf(printed: bytes) -> bytes:
    notes = re.split(rb"(?m)^(?:Displaying notes|Note segment)", printed)[1:]
    return b"".join(re.sub(rb"(?m)^.*?offset (0x)?[0-9a-f]+.*$", b"", note) for note in notes)


@dataclass(frozen=True)
class Reader:
    """A program, what of it is run, and what is compared."""

    name: str
    version: tuple[str, ...]
    read: Callable[[Bench, str], bytes]
    compared: str

    @property
    def program(self) -> str:
        """Its first word is the program."""
        return self.name.split()[0]


READERS = (
    Reader("crash", ("-v",), crash, "`bt -a`, `ps`, `log`, `kmem -i`, `mod`"),
    Reader("drgn", ("--version",), drgn, "crashed thread, every task and its stack, log, banner"),
    Reader("gdb", ("--version",), gdb, "threads, `bt`, registers, structures, tables in memory"),
    Reader("volatility3", ("-c", _VOLATILITY), volatility, "ELF layer: every page that both have"),
    Reader("makedumpfile", ("-v",), makedumpfile, "kept pages of `-c -d 31`, their bytes"),
    Reader("makedumpfile --dump-dmesg", ("-v",), makedumpfile_log, "log"),
    Reader("vmcore-dmesg", ("--version",), vmcore_dmesg, "log"),
    Reader("readelf", ("--version",), readelf, "header, notes"),
    Reader("eu-readelf", ("--version",), eu_readelf, "header, notes"),
)


def version(command: list[str], words: tuple[str, ...]) -> str:
    """The first number with a point in it."""
    done = subprocess.run([*command, *words], capture_output=True, timeout=60, check=False)
    found = re.search(rb"\d+\.\d+[.\d]*", done.stdout + done.stderr)
    return found[0].decode() if found else "?"


def row(reader: Reader, bench: Bench, mount: Path, keep: Path) -> str:
    """A line of the table."""
    told: dict[str, bytes] = {}
    seconds = {}
    for name in FILES:
        begun = time.monotonic()
        told[name] = reader.read(bench, str(mount / name)).replace(str(mount / name).encode(), b"")
        seconds[name] = time.monotonic() - begun
        (keep / f"{reader.name.replace(' ', '')}.{name}").write_bytes(told[name])
    a, b = (told[name].decode("utf-8", "replace").splitlines() for name in FILES)
    differ = sum(line[0] in "+-" for line in list(difflib.unified_diff(a, b, n=0))[2:])
    if b"\nstatus " in told["vmcore-kern"]:
        result = "fails: " + b[-1]
    elif differ:
        result = f"**{differ} lines differ**"
    else:
        digest = hashlib.sha256(told["vmcore"]).hexdigest()[:8]
        result = f"the same {len(a)} lines ({digest})"
    what = version(bench.programs[reader.program], reader.version)
    times = " / ".join(f"{seconds[name]:.1f}" for name in FILES)
    return f"| {reader.name} | {what} | both | {reader.compared} | {result} | {times} |"


def main() -> int:
    """Print the table; 1 when a reader sees a difference."""
    options = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    options.add_argument("image")
    options.add_argument("vmlinux")
    options.add_argument("readers", nargs="*", metavar="NAME[=COMMAND]")
    options.add_argument("--keep", type=Path)
    given = options.parse_args()
    named = dict(word.partition("=")[::2] for word in given.readers)
    only = {word for word in given.readers if "=" not in word}
    programs = {r.program: shlex.split(named.get(r.program, "")) or [r.program] for r in READERS}

    rows: list[str] = []
    missing: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        keep = given.keep or Path(scratch)
        keep.mkdir(exist_ok=True)
        mount = Path(scratch, "mount")
        with mounted(given.image, mount):
            sizes = " / ".join(str((mount / name).stat().st_size) for name in FILES)
            info = (mount / "vmcoreinfo").read_text()
            release, offset = (
                re.search(f"(?m)^{key}=(.*)$", info) for key in ("OSRELEASE", "KERNELOFFSET")
            )
            bench = Bench(given.vmlinux, Path(scratch), offset[1] if offset else "0", programs)
            for reader in READERS:
                if only and reader.program not in only:
                    continue
                if shutil.which(programs[reader.program][0]) is None:
                    missing.append(reader.name)
                    continue
                rows.append(row(reader, bench, mount, keep))
    print(f"Linux {release[1] if release else '?'}, {sizes} bytes ({' / '.join(FILES)}).\n")
    print("| reader | version | opens | compared | result | seconds |\n|---|---|---|---|---|---|")
    print("\n".join(rows))
    if missing:
        print(f"\nNot installed: {', '.join(missing)}.")
    return int(any("| the same" not in line for line in rows))


if __name__ == "__main__":
    raise SystemExit(main())
