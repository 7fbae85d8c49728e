"""A row of the tables of wrong layer files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bad:
    """A bad layer file.

    Attributes:
        id: of the test.
        text: the file; bytes where it is no text.
        contains: a part of the message or the hint.
    """

    id: str
    text: str | bytes
    contains: str


def body(*lines: str, signature: str = "x: Real[N, D]") -> str:
    """Return a layer with these lines in its body."""
    return f"def f({signature}):\n" + "".join(f"    {line}\n" for line in lines)
