"""Fuzz kernels that lie: page tables, sections, struct pages, keys.

``python tests/fuzz_kernel.py [libFuzzer's arguments]``, with atheris.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

try:
    import atheris  # type: ignore[import-untyped]
except ImportError:
    sys.exit("fuzz_kernel needs atheris: pip install atheris")

from hostile import check_kernel


def one(data: bytes) -> None:
    """One wreck; whatever the check does not expect is a finding."""
    if len(data) > 2:
        check_kernel(data[0], data[1], data[2:])


if __name__ == "__main__":
    atheris.instrument_all()  # an editable install's modules pass atheris' import hook by
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
