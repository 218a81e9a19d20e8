# SPDX-License-Identifier: MIT
"""The main job in one session: mount a crash, look at it, copy it, check the copies, unmount.

The crash is synthetic and always the same; ``tests/support/demo_crash.py`` builds it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.demo_check import CHECKS, Mismatch
from support.demo_crash import DemoCrash

UNMOUNT = ["umount"] if os.getuid() == 0 else ["fusermount3", "-u"]
# The commands of this Python's environment first; and the same output wherever it runs.
ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
    "LC_ALL": "C",
    "TZ": "UTC",
}


def say(text: str) -> None:
    """A line of our own between the commands."""
    print(f"\n# {text}", flush=True)


def show(*words: str) -> None:
    """Run a command in the current directory as a user would, and show it."""
    print("$", shlex.join(words), flush=True)
    subprocess.run(words, check=True, env=ENVIRONMENT)


def copy(name: str) -> None:
    """``cp`` out of the mount. The size is known before, so a percentage can be shown."""
    total = os.stat(f"dump/{name}").st_size
    print(f"$ cp dump/{name} .", flush=True)
    with subprocess.Popen(["cp", f"dump/{name}", "."], env=ENVIRONMENT) as running:
        while running.poll() is None:
            _progress(name, total)
            time.sleep(0.05)
    if running.returncode:
        raise subprocess.CalledProcessError(running.returncode, "cp")
    print(f"{os.stat(name).st_size * 100 // total:3}% of {total} bytes", flush=True)


def _progress(name: str, total: int) -> None:
    if sys.stdout.isatty():
        done = os.stat(name).st_size if os.path.exists(name) else 0
        print(f"{done * 100 // total:3}%", end="\r", flush=True)


def session(crash: DemoCrash) -> None:
    """All of it, in the current directory."""
    say("ram.img: the memory of a made-up machine that has crashed, 64 MiB")
    show("oldmemfs", "ram.img", "dump")
    try:
        show("ls", "-l", "dump")
        say("what happened?")
        show("cat", "dump/summary")
        show("tail", "-n", "5", "dump/dmesg")
        show("grep", "-E", "^(pid|rip|rsp)", "dump/cpu/1/registers")
        sizes = [os.stat(f"dump/{name}").st_size for name in ("vmcore-kern", "vmcore")]
        say(f"vmcore-kern: the kernel's pages only, {sizes[0] * 100 // sizes[1]}% of vmcore's size")
        show("cat", "dump/filter-report")
        copy("vmcore-kern")
        copy("vmcore")
        say("the same as what was put into ram.img?")
        for check in CHECKS:
            print(check(crash, Path("dump"), Path()), flush=True)
    finally:
        print(flush=True)
        show(*UNMOUNT, "dump")


def main() -> int:
    """The session in a temporary folder; the exit status."""
    with tempfile.TemporaryDirectory(prefix="oldmemfs-demo-") as work, contextlib.chdir(work):
        crash = DemoCrash()
        crash.save(Path("ram.img"))
        os.mkdir("dump")
        try:
            session(crash)
        except Mismatch as error:
            print(f"demo: {error}", file=sys.stderr)
            return 1
        except subprocess.CalledProcessError as error:
            return error.returncode  # the command has said why
    return 0


if __name__ == "__main__":
    sys.exit(main())
