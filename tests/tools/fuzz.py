# SPDX-License-Identifier: MIT
"""Fuzz with atheris: ``python tests/tools/fuzz.py TARGET [FOLDER] [libFuzzer's arguments]``.

Each target turns bytes into a wreck; what its check does not expect is a finding. ``core`` and
``text`` take the bytes as they are: an empty FOLDER (libFuzzer's corpus) gets whole ones to begin
with, without which few get past the first check. Give them ``-max_len=12000``.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

try:
    import atheris
except ImportError:
    sys.exit("fuzz.py needs atheris: pip install atheris")

from support import image
from support.hostile import (
    CORE,
    KEYS,
    check_core,
    check_header,
    check_kernel,
    check_notes,
    check_text,
)
from support.hostile_rings import RINGS, check_ring


def text(data: bytes) -> None:
    """VMCOREINFO, and ELF notes."""
    check_text(data)
    check_notes(data, bool(len(data) & 1))


def kernel(data: bytes) -> None:
    """Page tables, sections, struct pages and keys that lie."""
    if len(data) > 2:
        check_kernel(data[0], data[1], data[2:])


def log(data: bytes) -> None:
    """The dead kernel's log: generation, word, byte order, damage."""
    if len(data) > 3:
        check_ring(RINGS[data[0] % 3], (4, 8)[data[1] & 1], bool(data[2] & 1), data[3:])


TARGETS = {
    "core": check_core,  # an ELF core file
    "header": check_header,  # a header blob and its notes, through every view
    "kernel": kernel,
    "log": log,
    "text": text,
}


SEEDS = {
    "core": (CORE,),
    "text": (
        *(image.cpu_note(big=big) + image.vmcoreinfo_note(big=big) for big in (False, True)),
        "".join(f"{key}={value}\n" for key, value in KEYS.items()).encode(),
    ),
}


def sow(target: str, folder: Path) -> None:
    """Put whole inputs into an empty corpus."""
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        for i, seed in enumerate(SEEDS.get(target, ())):
            (folder / f"seed-{i}").write_bytes(seed)


def main() -> None:
    program, *words = sys.argv
    if not words or words[0] not in TARGETS:
        sys.exit(f"fuzz.py: give one of {', '.join(TARGETS)}")
    if len(words) > 1 and not words[1].startswith("-"):
        sow(words[0], Path(words[1]))
    atheris.instrument_all()  # an editable install's modules pass atheris' import hook by
    atheris.Setup([program, *words[1:]], TARGETS[words[0]])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
