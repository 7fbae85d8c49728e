"""The syntax of a layer file as plain values: what was written, before any name is looked up.

The grammar is small and closed, so the tree is too; every node knows its
place in the text. ``sum[k](x[n, k]) / sqrt(D)`` is

    Operation("/", (Reduce(sum, (k,), Read(x, (n, k))), Call(sqrt, (Name(D),))))
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sympy import Rational

from derive.algebra.nodes import Kind
from derive.errors import Source, Span

__all__ = [
    "Assign",
    "Axis",
    "Call",
    "Declare",
    "Definition",
    "Dots",
    "Expression",
    "HyperSyntax",
    "Name",
    "Number",
    "Operation",
    "Pad",
    "ParameterSyntax",
    "Read",
    "Reduce",
    "Return",
    "StatementSyntax",
    "Target",
    "Truth",
    "names_in",
    "raw",
    "written",
]


@dataclass(frozen=True, slots=True)
class Number:
    """A literal, exact: ``1e-5`` is 1/100000."""

    at: Span
    value: Rational
    integer: bool


@dataclass(frozen=True, slots=True)
class Truth:
    """``True`` or ``False``."""

    at: Span
    value: bool


@dataclass(frozen=True, slots=True)
class Name:
    """A bare name: a scalar, a size, an index or a constant."""

    at: Span
    id: str


@dataclass(frozen=True, slots=True)
class Dots:
    """``...``, the batch axes."""

    at: Span


@dataclass(frozen=True, slots=True)
class Read:
    """``x[n, d]``."""

    at: Span
    name: Name
    subscripts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Pad:
    """``padded(x, fill)[n, t - 1]``; ``fill`` is None where none is written."""

    at: Span
    read: Read
    fill: Expression | None


@dataclass(frozen=True, slots=True)
class Call:
    """``f(a, b, eps=c)``."""

    at: Span
    name: Name
    arguments: tuple[Expression, ...]
    keywords: tuple[tuple[Name, Expression], ...]


@dataclass(frozen=True, slots=True)
class Reduce:
    """``sum[i, r: k](body)``; ``ranges`` has an entry a letter, None where no range is written."""

    at: Span
    word: Name
    letters: tuple[Name | Dots, ...]
    ranges: tuple[Expression | None, ...]
    body: Expression


@dataclass(frozen=True, slots=True)
class Operation:
    """An operator and its operands: ``+ - * / ** // %``, ``neg``, comparisons, ``and or not``.

    A chain ``a < b < c`` is ``and`` of its comparisons.
    """

    at: Span
    operator: str
    operands: tuple[Expression, ...]


Expression = Number | Truth | Name | Dots | Read | Pad | Call | Reduce | Operation
Axis = Name | Number | Dots


@dataclass(frozen=True, slots=True)
class Target:
    """The left side of a statement; ``subscripts`` is None where it has no brackets."""

    at: Span
    name: Name
    subscripts: tuple[Expression, ...] | None


@dataclass(frozen=True, slots=True)
class Assign:
    """``y[n] = value``, or ``a, b = layer(…)``."""

    at: Span
    targets: tuple[Target, ...]
    value: Expression


@dataclass(frozen=True, slots=True)
class Declare:
    """``y: Real[N, P]``."""

    at: Span
    name: Name
    kind: Kind
    axes: tuple[Axis, ...]


@dataclass(frozen=True, slots=True)
class Return:
    """``return a, b``."""

    at: Span
    names: tuple[Name, ...]


StatementSyntax = Assign | Declare | Return


@dataclass(frozen=True, slots=True)
class ParameterSyntax:
    """``x: Real[N, D]``; ``at`` is the whole, ``name.at`` the name."""

    at: Span
    name: Name
    kind: Kind
    axes: tuple[Axis, ...]


@dataclass(frozen=True, slots=True)
class HyperSyntax:
    """``eps: Real = 1e-5``."""

    at: Span
    name: Name
    kind: Kind
    default: int | float | bool


@dataclass(frozen=True, slots=True)
class Definition:
    """One ``def``; ``at`` is the place of its name."""

    at: Span
    name: str
    doc: str
    parameters: tuple[ParameterSyntax, ...]
    hypers: tuple[HyperSyntax, ...]
    body: tuple[StatementSyntax, ...]
    source: Source


def names_in(node: Expression) -> Iterator[str]:
    """Return every name that an expression reads, indices too."""
    match node:
        case Name():
            yield node.id
        case Read():
            yield node.name.id
            for subscript in node.subscripts:
                yield from names_in(subscript)
        case Pad():
            yield from names_in(node.read)
        case Call():
            for argument in (*node.arguments, *(value for _, value in node.keywords)):
                yield from names_in(argument)
        case Reduce():
            yield from names_in(node.body)
        case Operation():
            for operand in node.operands:
                yield from names_in(operand)


def raw(at: Span) -> str:
    """Return the text of a place, as the user wrote it."""
    line = at.source.line(at.line)
    return line[at.column - 1 : at.column - 1 + at.length]


def written(at: Span) -> str:
    """Return the text of a place for a message: as the user wrote it, of a long one the beginning."""
    text = raw(at)
    return text if len(text) <= 60 else f"{text[:60]}…"
