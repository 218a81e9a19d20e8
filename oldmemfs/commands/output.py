# SPDX-License-Identifier: MIT
"""Writing to standard output, with its errors: a closed pipe, a full disk."""

from __future__ import annotations

import os
import sys

from ..errors import OldmemError

_ENDED_BY_SIGPIPE = 128 + 13  # the exit status that a shell reports for SIGPIPE


def visible(text: str) -> str:
    """``text`` with backslash escapes for every character that is not printable, newlines too.

    Names and notes come from the dump, and must not send control characters to the terminal.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def put(text: str) -> None:
    """Write to standard output and flush it.

    If the reader of a pipe has closed it (``| head``), raises ``SystemExit`` with the status of
    SIGPIPE, without a message. Raises ``OldmemError`` for any other failure.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # The buffer still has the text, and Python flushes it at exit: that must not fail again.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)
        if isinstance(error, BrokenPipeError):
            raise SystemExit(_ENDED_BY_SIGPIPE) from None
        raise OldmemError(f"cannot write the output: {error.strerror}") from error
