"""What a user can cause, each with its place in the file and what to do.

Anything only the program can cause is an ``AssertionError`` instead. ``str()``
of a :class:`DeriveError` is the whole picture a terminal shows:

    mylayer.layer:4:25: error: index 'd' runs over D (x, axis 1) and over N (mu, axis 0)
        y[n, d] = x[n, d] - mu[d]
                            ^~~~~
    hint: mu was defined as mu[n] on line 3
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

__all__ = [
    "CheckError",
    "DerivationError",
    "DeriveError",
    "LayerSyntaxError",
    "ShapeError",
    "Source",
    "Span",
    "UnknownNameError",
]


# What would steer a terminal, or could not be written in UTF-8.
_UNSHOWABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@lru_cache(maxsize=8)
def _lines(text: str) -> list[str]:
    """Return the lines as Python's parser counts them (``splitlines`` knows further line ends)."""
    return re.split("\r\n|\r|\n", text)


@dataclass(frozen=True, slots=True)
class Source:
    """A layer file: the name that messages show, and its text."""

    name: str
    text: str

    def line(self, number: int) -> str:
        """Return line ``number`` (from 1) without its line end; "" past the end."""
        lines = _lines(self.text)
        return lines[number - 1] if 0 < number <= len(lines) else ""


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a line: line and column counted from 1, ``length`` in characters."""

    source: Source
    line: int
    column: int
    length: int = 1


_WIDTH = 160
_LONGEST = 500


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _picture(span: Span) -> list[str]:
    """Return the line, without its indentation, and the caret below the piece; of a long line a part."""
    text = span.source.line(span.line)
    if not text.strip():
        return []
    start = len(text) - len(text.lstrip())
    column = max(span.column - 1, start)
    stop = len(text)
    front = back = ""
    if stop - start > _WIDTH:
        if column - start > _WIDTH // 2:
            start, front = column - _WIDTH // 2, "…"
        if stop - start > _WIDTH:
            stop, back = start + _WIDTH, "…"
    pad = "".join(c if c == "\t" else " " for c in front + text[start:column])
    length = max(1, min(span.length, stop - column))
    return [f"    {front}{text[start:stop]}{back}", f"    {pad}^{'~' * (length - 1)}"]


class DeriveError(Exception):
    """An error in the user's input: message, place, and a hint what to do."""

    def __init__(self, message: str, span: Span | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.span = span
        self.hint = hint

    def __str__(self) -> str:
        """Return the picture: place and message, the line, the caret, the hint."""
        lines = []
        if self.span is None:
            lines.append(f"error: {_cut(self.message)}")
        else:
            span = self.span
            lines.append(f"{span.source.name}:{span.line}:{span.column}: error: {_cut(self.message)}")
            lines += _picture(span)
        if self.hint:
            lines.append(f"hint: {_cut(self.hint)}")
        return _UNSHOWABLE.sub("\ufffd", "\n".join(lines))


class LayerSyntaxError(DeriveError):
    """The text is not in the layer language."""


class UnknownNameError(DeriveError):
    """A name is unknown, assigned twice, or used before it is defined."""


class ShapeError(DeriveError):
    """An index with two ranges, or a rank or size that does not fit."""


class DerivationError(DeriveError):
    """The layer is correct, but no derivative is known for a construct in it."""


class CheckError(DeriveError):
    """Code and mathematics disagree; nothing is written."""
