"""Index letters while a statement is read, and how messages speak of tensors and their axes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sympy import Expr

from derive.algebra.nodes import BATCH_SIZE
from derive.algebra.text import show
from derive.errors import ShapeError, Span, UnknownNameError
from derive.language.scope import Known, count
from derive.language.tree import Dots, Name, Read

__all__ = ["Letter", "Letters", "axis_count", "axis_name", "check_rank", "example", "only_right"]


@dataclass(slots=True)
class Letter:
    """An index letter and, once a place has given it, its range.

    Attributes:
        name: the letter; ``...`` for the batch axes.
        at: where it is introduced.
        size: the range.
        place: what gave the range: ``x, axis 1``.
        declared: the range was written down; it may be shorter than an axis where the letter stands.
    """

    name: str
    at: Span
    size: Expr | None = None
    place: str = ""
    declared: bool = False


Letters = Mapping[str, Letter]


def check_rank(known: Known, node: Read) -> None:
    """Refuse a read whose subscripts do not match the tensor's axes."""
    name, axes = known.tensor.name, known.axes
    if not axes:
        raise ShapeError(f"'{name}' is a scalar", node.at, f"read it without brackets: {name}")
    dots = isinstance(node.subscripts[0], Dots)
    batched = axes[0] == BATCH_SIZE
    if dots and not batched:
        raise ShapeError(f"'{name}' has no batch axes", node.subscripts[0].at, known.story)
    if batched and not dots:
        raise ShapeError(f"'{name}' is read without its batch axes", node.at, f"write {example(known)}")
    if len(axes) != len(node.subscripts):
        raise ShapeError(
            f"'{name}' has {count(len(axes), 'axis', 'axes')}, got {count(len(node.subscripts), 'subscript')}",
            node.at,
            known.story,
        )


def only_right(node: Name) -> UnknownNameError:
    """Return the error of an index that nothing binds."""
    return UnknownNameError(
        f"index '{node.id}' is on the right only", node.at, f"put it on the left, or reduce over it: sum[{node.id}](…)"
    )


def axis_name(known: Known, position: int) -> str:
    """Return ``x, axis 1``; behind batch axes they are counted from the end."""
    if known.axes[0] == BATCH_SIZE:
        position -= len(known.axes)
    return f"{known.tensor.name}, axis {position}"


def axis_count(known: Known) -> str:
    """Return ``2 axes``."""
    return count(len(known.axes), "axis", "axes")


def example(known: Known) -> str:
    """Return ``x[n, d]`` for a tensor of axes [N, D]."""
    letters: list[str] = []
    for axis in known.axes:
        letter = "..." if axis == BATCH_SIZE else show(axis).lower()
        while letter in letters or not (letter.isidentifier() or letter == "..."):
            letter = next(c for c in "ijklmpqrstuvwxyz" if c not in letters)
        letters.append(letter)
    return f"{known.tensor.name}[{', '.join(letters)}]"
