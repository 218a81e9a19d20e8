# SPDX-License-Identifier: MIT
"""The words of -o for the man page, from the table that the program reads them by.

    python options.py OLDMEMFS.8.RST OUT

writes the page with a definition for each word where ``.. OPTIONS`` stands.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from oldmemfs.options import WORDS


def definitions() -> str:
    """In the form of a definition list; what a user puts in is set apart."""
    made = []
    for word in WORDS:
        takes = re.sub(r"[A-Z]+", r"\\ *\g<0>*\\ ", word.takes.replace("|", "\\|"))
        text = f"{word.says[0].upper()}{word.says[1:]}. {word.more}".rstrip()
        made.append(f"{word.name}{'=' * bool(takes)}{takes}\n    {text}\n")
    return "".join(made)


page, out = map(Path, sys.argv[1:])
text = page.read_text()
if text.count(".. OPTIONS\n") != 1:
    sys.exit(f"{page}: no place for the options")
out.write_text(text.replace(".. OPTIONS\n", definitions()))
