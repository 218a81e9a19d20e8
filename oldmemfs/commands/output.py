"""What is printed: on a terminal, into a pipe that somebody closes, on a disk that is full."""

from __future__ import annotations

import os
import sys

from ..errors import OldmemError

_ENDED_BY_SIGPIPE = 128 + 13  # as a shell tells it


def visible(text: str) -> str:
    """One line, with escapes for what no terminal shows: names and notes may hold anything."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def put(text: str) -> None:
    """Write to standard output, at once.

    A reader that has gone (``| head``) ends the program silently, as SIGPIPE ends others; for any
    other failure ``OldmemError`` is raised.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # The rest of the text is still in the buffer: it must not fail a second time at the end.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)
        if isinstance(error, BrokenPipeError):
            raise SystemExit(_ENDED_BY_SIGPIPE) from None
        raise OldmemError(f"cannot write the output: {error.strerror}") from error
