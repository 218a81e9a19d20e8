# SPDX-License-Identifier: MIT
"""What a mount imports: run by payload.py, which says what must be importable besides.

    payload_trace.py SSL-STUB PATHS ALSO WORK mount|list

Prints, as JSON, every module that came from a file: name, file, whether it is a package.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import signal
import struct
import subprocess
import sys
import threading
import time
import types

BLOB = 0x1000  # where the made-up image has its ELF header
OPTIONS = "ram=0-8000@0,elfcorehdr=0x1000,notes=skip,arch=any"


def without_openssl(stub: str) -> None:
    """As in the payload: a stub for ssl, and Python's own hashes."""
    module = sys.modules["ssl"] = types.ModuleType("ssl")
    exec(stub, module.__dict__)
    for name in ("_ssl", "_hashlib"):
        sys.modules[name] = None  # type: ignore[assignment]  # importing it fails


def image(path: str) -> None:
    """A page of memory and the header that says so."""
    ident = b"\x7fELF\2\1\1"
    header = struct.pack("<16sHHIQQQIHHHHHH", ident, 4, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 7, 0x4000, 0, 0x4000, 0x1000, 0x1000, 0)
    with open(path, "wb") as file:
        file.seek(BLOB)
        file.write(header + load)
        file.truncate(0x8000)


def visit(mountpoint: str) -> None:
    """List and read the mount once it is there, then end it."""
    mounted = False
    while not mounted:
        time.sleep(0.01)
        with open("/proc/self/mountinfo") as mounts:
            mounted = any(line.split()[4] == mountpoint for line in mounts)
    # No cwd=: this process must not wait for its own mount, and it does between fork and exec.
    look = 'cd "$0" && ls -l && cat vmcore status'
    subprocess.run(["sh", "-c", look, mountpoint], stdout=subprocess.DEVNULL)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Import, mount, tell."""
    stub, paths, also, work, session = sys.argv[1:]
    without_openssl(stub)
    sys.path[:0] = json.loads(paths)
    for name in json.loads(also):
        importlib.import_module(name)
    # By name, since this is no part of the program but one that runs it.
    package = importlib.import_module("oldmemfs")
    for module in pkgutil.walk_packages(package.__path__, "oldmemfs."):
        if not module.name.endswith((".__main__", ".payload", ".payload_trace")):
            importlib.import_module(module.name)
    ram, mountpoint = f"{work}/ram", f"{work}/mnt"
    image(ram)
    words = ["--list", ram, "-o", OPTIONS]
    if session == "mount":
        os.mkdir(mountpoint)
        threading.Thread(target=visit, args=(mountpoint,), daemon=True).start()
        words = ["-f", ram, mountpoint, "-o", OPTIONS]
    with open(os.devnull, "w") as sys.stdout:
        cli = sys.modules["oldmemfs.cli"]
        status = cli.run(cli.read_arguments("oldmemfs", words))
    if status and session == "mount":
        sys.exit("the made-up image could not be mounted")
    found = []
    for name, imported in list(sys.modules.items()):
        spec = getattr(imported, "__spec__", None)
        if spec is not None and spec.has_location:
            found.append((name, spec.origin, spec.submodule_search_locations is not None))
    print(json.dumps(found), file=sys.__stdout__)


if __name__ == "__main__":
    main()
