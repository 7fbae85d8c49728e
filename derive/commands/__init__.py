"""The ``derive`` command: ``run`` for the shell, ``main`` for tests and other programs.

Only the standard library is imported here, so that Ctrl-C is quiet from the
first moment on.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["INTERRUPTED", "PIPE_CLOSED", "TERMINATED", "main", "run"]

INTERRUPTED = 130
"""The exit status after Ctrl-C: 128 + SIGINT, as shells have it."""

TERMINATED = 143
"""The exit status where another process ended this one: 128 + SIGTERM."""

PIPE_CLOSED = 141
"""The exit status where the reader of our output went away: 128 + SIGPIPE."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status.

    Args:
        argv: the words after the command's name; those of the process by default.

    Returns:
        0 where all went well, 1 where a check failed, 2 for an error in the
        input, which is printed to standard error; 130 after Ctrl-C and 141
        where the output's reader went away, both without a word.
    """
    try:
        from derive.commands.app import execute

        return execute(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return PIPE_CLOSED


def _flush() -> bool:
    """Write out what is buffered; where that fails let it go nowhere, so that the interpreter's own try is quiet."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.dup2(nowhere, sys.stderr.fileno())
        return False
    return True


def run() -> None:
    """Run the process's command line and leave with its exit status."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (for the process)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without the letters still gets an answer
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # like Ctrl-C: what is half-written is removed
    status = main()
    sys.exit(status if _flush() or status else 2)
