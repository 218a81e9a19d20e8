"""Fuzz header blobs and their notes, through every view.

``python tests/fuzz_header.py [libFuzzer's arguments]``, with atheris.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

try:
    import atheris  # type: ignore[import-untyped]
except ImportError:
    sys.exit("fuzz_header needs atheris: pip install atheris")

from hostile import check_header


def one(data: bytes) -> None:
    """One wreck; whatever the check does not expect is a finding."""
    check_header(data)


if __name__ == "__main__":
    atheris.instrument_all()  # an editable install's modules pass atheris' import hook by
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
