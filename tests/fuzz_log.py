"""Fuzz the log readers: ``python tests/fuzz_log.py [libFuzzer's arguments]``, with atheris.

The first three bytes choose generation, word and byte order; the rest is the damage.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

try:
    import atheris  # type: ignore[import-untyped]
except ImportError:
    sys.exit("fuzz_log needs atheris: pip install atheris")

with atheris.instrument_imports(include=["oldmemfs"]):
    from test_printk_hostile import GENERATIONS, check


def one(data: bytes) -> None:
    """One ring; whatever ``check`` does not expect is a finding."""
    if len(data) > 3:
        check(GENERATIONS[data[0] % 3], (4, 8)[data[1] & 1], bool(data[2] & 1), data[3:])


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
