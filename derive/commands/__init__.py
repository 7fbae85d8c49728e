"""The ``derive`` command: ``run`` for the shell, ``main`` for tests and other programs.

Only the standard library is imported here, so that Ctrl-C is quiet from the
first moment on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

__all__ = ["INTERRUPTED", "PIPE_CLOSED", "main", "run"]

INTERRUPTED = 130
"""The exit status after Ctrl-C: 128 + SIGINT, as shells have it."""

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

        status = execute(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return PIPE_CLOSED
    return status


def _drop_output() -> None:
    """Let what is still buffered go nowhere, so that the interpreter's last flush is quiet."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            os.dup2(nowhere, stream.fileno())
        except (OSError, ValueError):  # a stream without a file behind it has nothing to flush to
            continue


def run() -> None:
    """Run the process's command line and leave with its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal without the letters still gets an answer
    sys.exit(main())
