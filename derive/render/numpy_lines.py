"""Statements of generated code about many names at once, on one line where it fits."""

from __future__ import annotations

from collections.abc import Sequence

from derive.render.numpy_text import WIDTH

__all__ = ["in_groups", "tuple_lines", "tuple_text"]

_GROUP = 8


def tuple_text(pieces: Sequence[str]) -> str:
    """Return ``(a, b)``, or ``(a,)``."""
    return f"({', '.join(pieces)}{',' if len(pieces) == 1 else ''})"


def tuple_lines(name: str, pieces: Sequence[str]) -> list[str]:
    """Return ``name = (…)``, one element a line where it is too long."""
    line = f"{name} = {tuple_text(pieces)}"
    return [line] if len(line) <= WIDTH - 4 else [f"{name} = (", *(f"    {piece}," for piece in pieces), ")"]


def in_groups(names: Sequence[str], source: str) -> list[str]:
    """Return the lines that give the elements of ``source`` their names, a few at a time."""
    lines: list[str] = []
    for first in range(0, len(names), _GROUP):
        some = names[first : first + _GROUP]
        target = ", ".join(some) if len(some) > 1 else tuple_text(some)
        lines.append(f"{target} = {source}[{first}:{first + len(some)}]")
    return lines
