"""What the commands say and how: colour, progress, errors.

Results go to standard output; progress and errors to standard error. Colour
and progress appear only where a person looks on: the stream is a terminal,
``NO_COLOR`` is not set and ``TERM`` is not ``dumb``.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

import click

from derive.errors import DeriveError

if TYPE_CHECKING:
    from rich.status import Status

__all__ = ["Progress", "colourful", "complain", "say", "width", "writes"]

PATIENCE = 1.0
"""Seconds of work before progress is shown."""


def colourful(stream: TextIO) -> bool:
    """Return whether colour may be used on the stream."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width(stream: TextIO) -> int:
    """Return the columns to fill: the terminal's, or 100 where there is none."""
    return shutil.get_terminal_size((100, 24)).columns if stream.isatty() else 100


def writes(stream: TextIO, text: str) -> bool:
    """Return whether the stream's encoding has every letter of the text."""
    try:
        text.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def say(text: str) -> None:
    """Print a result."""
    click.echo(text.removesuffix("\n"), color=colourful(sys.stdout))


def complain(error: str | DeriveError) -> None:
    """Print an error: the whole picture of a DeriveError, or one line."""
    text = str(error) if isinstance(error, DeriveError) else f"error: {error}"
    paint = colourful(sys.stderr)
    if paint:
        first, *rest = text.split("\n")
        first = re.sub(r"(?:^|(?<= ))error:", click.style("error:", fg="red", bold=True), first, count=1)
        rest = [click.style(line, fg="red") if re.fullmatch(r"\s*\^~*", line) else line for line in rest]
        rest = [re.sub(r"^hint:", click.style("hint:", fg="cyan", bold=True), line) for line in rest]
        text = "\n".join([first, *rest])
    click.echo(text, err=True, color=paint)


class Progress:
    """Tell on standard error what is being worked on, once the work has taken a second.

    >>> with Progress(total=3) as progress:
    ...     progress.begin("batchnorm")

    Nothing is shown where standard error is no terminal, and nothing stays on it.
    """

    def __init__(self, total: int, doing: str = "deriving and checking") -> None:
        self._total, self._doing = total, doing
        self._done = -1
        self._name = ""
        self._lock = threading.Lock()
        self._status: Status | None = None
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            self._timer = threading.Timer(PATIENCE, self._show)
            self._timer.daemon = True
            self._timer.start()
        return self

    def begin(self, name: str) -> None:
        """Note that work on the next layer begins."""
        with self._lock:
            self._done += 1
            self._name = name
            if self._status is not None:
                self._status.update(self._text())

    def _text(self) -> str:
        count = f" ({self._done + 1}/{self._total})" if self._total > 1 else ""
        return f"{self._doing} {self._name}{count}"

    def _show(self) -> None:
        from rich.console import Console

        with self._lock:
            if self._timer is None:  # all done meanwhile
                return
            self._status = Console(stderr=True).status(self._text())
            self._status.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._status is not None:
                self._status.stop()
                self._status = None
