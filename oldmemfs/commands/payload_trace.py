# SPDX-License-Identifier: MIT
"""A program that payload.py runs: mounts a small image and prints which modules were imported.

    payload_trace.py SSL-STUB PATHS ALSO WORK mount|list

PATHS and ALSO are JSON lists: folders for sys.path, and more modules to import. WORK is an empty
folder. Prints a JSON list of [name, file, is a package] for every module that came from a file.
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

BLOB = 0x1000  # address of the ELF header in the image
OPTIONS = "ram=0-8000@0,elfcorehdr=0x1000,notes=skip,arch=any"


def without_openssl(stub: str) -> None:
    """Replace ssl by the stub, and OpenSSL's hashes by Python's own, as in the payload."""
    module = sys.modules["ssl"] = types.ModuleType("ssl")
    exec(stub, module.__dict__)
    for name in ("_ssl", "_hashlib"):
        sys.modules[name] = None  # type: ignore[assignment]  # importing it fails


def image(path: str) -> None:
    """Write a memory image with one page of memory and its ELF header to ``path``."""
    ident = b"\x7fELF\2\1\1"
    header = struct.pack("<16sHHIQQQIHHHHHH", ident, 4, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 7, 0x4000, 0, 0x4000, 0x1000, 0x1000, 0)
    with open(path, "wb") as file:
        file.seek(BLOB)
        file.write(header + load)
        file.truncate(0x8000)


def visit(mountpoint: str) -> None:
    """Wait for the mount, list and read its files, then end this process by SIGTERM."""
    mounted = False
    while not mounted:
        time.sleep(0.01)
        with open("/proc/self/mountinfo") as mounts:
            mounted = any(line.split()[4] == mountpoint for line in mounts)
    # The shell does the cd: with cwd= this process would do it between fork and exec, and would
    # wait for an answer from its own mount.
    look = 'cd "$0" && ls -l && cat vmcore status'
    subprocess.run(["sh", "-c", look, mountpoint], stdout=subprocess.DEVNULL)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Import, mount, and print the modules."""
    stub, paths, also, work, session = sys.argv[1:]
    without_openssl(stub)
    sys.path[:0] = json.loads(paths)
    for name in json.loads(also):
        importlib.import_module(name)
    # By name: this file is a program of its own, and not imported as a part of the package.
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
        sys.exit("the test image could not be mounted")
    found = []
    for name, imported in list(sys.modules.items()):
        spec = getattr(imported, "__spec__", None)
        if spec is not None and spec.has_location:
            found.append((name, spec.origin, spec.submodule_search_locations is not None))
    print(json.dumps(found), file=sys.__stdout__)


if __name__ == "__main__":
    main()
