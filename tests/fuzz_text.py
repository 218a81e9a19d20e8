"""Fuzz VMCOREINFO and ELF notes.

``python tests/fuzz_text.py [libFuzzer's arguments]``, with atheris.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

try:
    import atheris  # type: ignore[import-untyped]
except ImportError:
    sys.exit("fuzz_text needs atheris: pip install atheris")

from hostile import check_notes, check_text


def one(data: bytes) -> None:
    """One wreck; whatever the check does not expect is a finding."""
    check_text(data)
    check_notes(data, bool(len(data) & 1))


if __name__ == "__main__":
    atheris.instrument_all()  # an editable install's modules pass atheris' import hook by
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
