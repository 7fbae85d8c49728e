"""What LaTeX and the terminal share: the order, grouping and breaking of a formula.

SymPy keeps the arguments of sums and products in an order of its own. Here
they get a reader's: in a product numbers, sizes, symbols with few indices,
symbols with many, parentheses, sums; in a sum positive terms before negative
ones. A quotient is split into what stands above the line, below it and after
it:

    -gamma[d]*rstd[d]*(N*dy[n, d] - dbeta[d])/N
        above   gamma[d], rstd[d]
        below   N
        after   N*dy[n, d] - dbeta[d]

A printer says how each piece looks (:mod:`derive.render.printer`); a formula that is too
long for its line is cut into :class:`Piece`s and broken where it is nested
least.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import sympy
from sympy import Add, Expr, Mul, Pow, Rational, S, default_sort_key

from derive.algebra.affine import is_affine
from derive.algebra.functions import BY_CLASS, And, Eq, Ge, Gt, Le, Lgamma, LogSigmoid, Lt, Ne, Not, Or, Where
from derive.algebra.indices import elements, free_indices
from derive.algebra.nodes import (
    Delta,
    Element,
    Hyper,
    Index,
    KeepingReduction,
    Kind,
    LogSoftmax,
    Max,
    Mean,
    Min,
    Padded,
    Prod,
    Reduction,
    Size,
    Sum,
)
from derive.algebra.text import decimal
from derive.calculus.program import Program
from derive.language.layer import Statement
from derive.render.names import Reading, readings

__all__ = [
    "Box",
    "Notation",
    "Piece",
    "Quotient",
    "as_decimal",
    "break_lines",
    "indices_count_from",
    "indicator",
    "is_condition",
    "rank",
    "short",
    "terms",
]

ADD, MUL, POWER, ATOM = range(4)
PREFIX = (Sum, Prod, Max, Min)
TRUTH = (Lt, Le, Gt, Ge, Eq, Ne, And, Or, Not)
_PLAIN_HEADS = (sympy.log, Lgamma, LogSigmoid, LogSoftmax)
OR, AND, NOT, COMPARE = range(4)


@dataclass(frozen=True, slots=True)
class Notation:
    """What a printer must know of the program around an expression.

    Attributes:
        cotangents: names of cotangents and tangents, which come last in a product.
        order: names in the order in which they appear; products follow it.
        first: the number at which indices start, 1 as in papers, or 0 where an
            index stands as a number in a formula.
        positions: sizes of the axes that windows are placed along: ``P`` of ``p``
            where ``y[p]`` reads ``x[p*s + r]``.
        fills: ``(name, fill)`` of every padded read, in order of appearance.
        readings: how the names are read that the program chose.
        sizes: what the derived sizes are.
    """

    cotangents: frozenset[str] = frozenset()
    order: tuple[str, ...] = ()
    first: int = 1
    positions: frozenset[Expr] = frozenset()
    fills: tuple[tuple[str, Expr], ...] = ()
    readings: Mapping[str, Reading] = field(default_factory=dict)
    sizes: Mapping[Expr, Expr] = field(default_factory=dict)

    @classmethod
    def of(cls, program: Program) -> Notation:
        """Return the notation of a program."""
        layer = program.layer
        values = [p.name for p in layer.parameters] + [s.name for s in (*layer.statements, *program.forward)]
        further = [s for function in program.passes for s in function.statements]
        backward = [*program.cotangents, *(s.name for s in program.backward)]
        given = [name for function in program.passes for name, _ in function.given]
        read = sorted({name for step in program.steps for e in (step.lhs, step.rhs) for name in _names(e)})
        found = readings(program, read)
        named = [*(s.name for s in further), *(s.name for s in layer.sizes)]
        statements = (*layer.statements, *program.forward, *program.backward, *further)
        expressions = [e for s in statements for e in (s.expr, s.target)]
        return cls(
            frozenset(name for name, reading in found.items() if reading.cotangent or reading.dot),
            tuple(dict.fromkeys([*values, *given, *backward, *named])),
            indices_count_from(expressions),
            _positions(layer.statements),
            tuple(dict.fromkeys(f for e in expressions for f in _fills(e))),
            found,
            {derived.size: derived.expr for derived in layer.derived},
        )

    def place(self, name: str) -> int:
        """Return where ``name`` stands in the order, or past its end."""
        return self.order.index(name) if name in self.order else len(self.order)

    def letter(self, index: Index) -> tuple[bool, ...]:
        """Return the key by which letters stand in a subscript: where a window is comes before the place in it."""
        return index.size not in self.positions, not isinstance(index.size, Size)


def _positions(statements: Sequence[Statement]) -> frozenset[Expr]:
    """Return the ranges of the letters that place a window: of ``p`` in ``y[p] = sum[r](x[p + r]*w[r])``."""
    found: set[Expr] = set()
    for statement in statements:
        for element in elements(statement.expr):
            for place in element.subscripts:
                letters = free_indices(place)
                if len(letters) > 1 and letters & set(statement.indices):
                    found |= {i.size for i in letters & set(statement.indices)}
    return frozenset(found)


def _fills(expr: Expr) -> list[tuple[str, Expr]]:
    own = [(expr.element.name, expr.fill)] if isinstance(expr, Padded) else []
    return [*own, *(f for a in expr.args for f in _fills(a))]


def _names(expr: Expr) -> frozenset[str]:
    if isinstance(expr, Element):
        return frozenset((expr.name,)).union(*map(_names, expr.subscripts))
    return frozenset().union(*map(_names, expr.args))


def short(index: Index) -> bool:
    """Return whether an index runs over less than an axis, so that its range is written beside it."""
    return not isinstance(index.size, Size) and not index.size.is_Integer


def indices_count_from(expressions: Sequence[Expr]) -> int:
    """Return 1, or 0 where a formula depends on the number at which indices start.

    ``s <= t`` and ``z[n, t[n]]`` mean the same either way; ``x[0, d]``, ``t + 1``
    and ``argmax`` do not.
    """

    def absolute(e: Expr) -> bool:
        if isinstance(e, Index):
            return True
        if isinstance(e, (*TRUTH, Delta)) and all(isinstance(a, (Index, Element)) for a in e.args):
            return any(absolute(a) for a in e.args if isinstance(a, Element))
        if isinstance(e, Element):
            return any(not isinstance(s, Index) and (s.is_Integer or is_affine(s) or absolute(s)) for s in e.subscripts)
        if isinstance(e, Reduction):
            return e.word == "argmax" or absolute(e.body)
        if isinstance(e, KeepingReduction):
            return absolute(e.body) or any(not isinstance(a, Index) and absolute(a) for a in e.at)
        if isinstance(e, Add):
            shifts = [t.as_coeff_Mul() for t in e.args]
            if sum((c for c, t in shifts if isinstance(t, Index)), S.Zero) == 0:
                return any(absolute(t) for _, t in shifts if not isinstance(t, Index))
        return any(map(absolute, e.args))

    return 0 if any(map(absolute, expressions)) else 1


@dataclass(frozen=True, slots=True)
class Box:
    """A printed expression.

    Attributes:
        text: as printed.
        width: estimated, in the printer's unit.
        level: how tightly it holds together.
        tall: 0 for a line of text, up to 3, for the size of parentheses around it.
        open: whether it would swallow a factor written after it, as a sum does.
        wordy: whether a neighbour in a product needs a gap.
        raised: whether it ends in a superscript already.
        parts: the text, cut where it may be broken by itself; none where it may not.
    """

    text: str
    width: float
    level: int = ATOM
    tall: int = 0
    open: bool = False
    wordy: bool = False
    raised: bool = False
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a formula that stays on one line.

    Attributes:
        text, width: of the part.
        depth: how deeply nested a break before it would be; None forbids one.
        joint: what is written before it inside a line.
        lead: what is written before it at the start of a line instead.
    """

    text: str
    width: float
    depth: int | None = None
    joint: str = ""
    lead: str = ""


def break_lines(pieces: Sequence[Piece], first: float, rest: float, step: float) -> list[tuple[int, str]]:
    """Return the lines of a formula, each with its indentation in units of ``step``.

    The first line is ``first`` wide, the further ones ``rest`` less their
    indentation, which follows the nesting (three units at most). A line is
    broken where nesting is least; among equals, as late as possible. A piece
    wider than a line stands alone on one.
    """
    lines: list[tuple[int, str]] = []
    start, room, indent = 0, first, 0
    while start < len(pieces):
        total, end = 0.0, start
        while end < len(pieces) and (end == start or total + pieces[end].width <= room):
            total += pieces[end].width
            end += 1
        if end < len(pieces):
            best, cost, used = None, float("inf"), 0.0
            for i in range(start + 1, len(pieces)):
                used += pieces[i - 1].width
                if i > end and best is not None:
                    break
                depth = pieces[i].depth
                if depth is None:
                    continue
                price = 2 * depth + 3 * max(0.0, 1 - used / room)
                if price <= cost:
                    best, cost = i, price
            end = len(pieces) if best is None else best
        text = (pieces[start].lead if lines else "") + pieces[start].text
        lines.append((indent, text + "".join(p.joint + p.text for p in pieces[start + 1 : end])))
        if end < len(pieces):
            indent = min(1 + (pieces[end].depth or 0), 4)
            room = max(rest - indent * step, rest / 2)
        start = end
    return lines


@dataclass(frozen=True, slots=True)
class Quotient:
    """``± above/below``; factors in order, each with a positive exponent."""

    negative: bool
    above: tuple[Expr, ...]
    below: tuple[Expr, ...]


def terms(expr: Expr, notation: Notation) -> tuple[Rational, list[tuple[bool, Expr]]]:
    """Return a common coefficient and the ordered terms ``(negative, magnitude)`` of a sum.

    The coefficient is 1 unless all terms have the same one up to sign.
    """
    split = [t.as_coeff_Mul() for t in Add.make_args(expr)]
    common = abs(split[0][0])
    if len(split) < 2 or any(abs(c) != common for c, _ in split) or not common.is_Rational:
        common = S.One
    numbers_first = any(_function_inside(t) for t in expr.args) if len(split) > 1 else False

    def constant(term: Expr) -> bool:
        return not free_indices(term) and not term.has(Element)

    # Constants come last, x - y + eps, unless all else is negative, 1 - x, or a number meets a function, 1 + exp(x).
    leads = any(not c.is_negative and not constant(t) for c, t in split)

    def key(term: tuple[Expr, Expr]) -> tuple[object, ...]:
        coefficient, rest = term
        negative = bool(coefficient.is_negative)
        group = 2 * constant(rest) + negative
        if constant(rest) and not negative and (not leads or (numbers_first and rest is S.One)):
            group = -1
        first = min((notation.place(n) for n in _names(rest)), default=0)
        plain = rest is S.One
        small = not rest.has(Size)  # N + 2·pad: sizes before hyper-parameters
        return (group, -len(free_indices(rest)), plain, rest.has(Reduction), first, small, default_sort_key(rest))

    ordered = sorted(split, key=key)
    return common, [(bool(c.is_negative), Mul(abs(c) / common, rest)) for c, rest in ordered]


def _function_inside(expr: Expr) -> bool:
    return any(type(f.base if isinstance(f, Pow) else f) in BY_CLASS for f in Mul.make_args(expr))


def rank(factor: Expr, notation: Notation, largest: int = 0) -> tuple[object, ...]:
    """Return the key by which factors stand in order; its first entry is the kind of factor.

    Among elements those with few indices come first; among equals a cotangent
    comes last, but first where it has the ``largest`` number of indices.

    0 number, 1 size, 2 hyper-parameter, 3 element, 4 function, 5 truth value,
    6 sum of terms or logarithm, 7 alternatives, 8 reduction.
    """
    base = factor.base if isinstance(factor, Pow) else factor
    free = len(free_indices(factor))
    tail = (free, default_sort_key(factor))
    if base.is_number:
        return (0, not base.is_Integer or factor is not base, *tail)
    if isinstance(base, Size) or (base.free_symbols and all(isinstance(s, Size) for s in base.free_symbols)):
        return (1, not isinstance(base, Size), min(notation.place(s.name) for s in base.free_symbols), *tail)
    if isinstance(base, (Hyper, Index)):
        return (2, 0, *tail)
    if isinstance(base, Element):
        late = (base.name in notation.cotangents) != (free >= largest)
        return (3, free, late, notation.place(base.name), default_sort_key(factor))
    if isinstance(base, (*TRUTH, Delta)) or indicator(base) is not None:
        return (5, 0, *tail)
    if isinstance(base, Add):
        return (6, 0, *tail)
    if isinstance(factor, _PLAIN_HEADS):
        return (6, 1, *tail)  # log σ(x) (1 - t) would read as the logarithm of all of it
    if isinstance(base, Where):
        return (7, 0, *tail)
    if isinstance(factor, (*PREFIX, Mean)):
        return (8, 0, *tail)
    return (4, 0, *tail)


def indicator(expr: Expr) -> Expr | None:
    """Return the condition that holds where the expression is 1; None unless it is 0 elsewhere.

    A mask, whose elements are 0 or 1, is itself the number.
    """
    if not isinstance(expr, Where) or not is_condition(expr.args[0]):
        return None
    test, *values = expr.args
    if values == [S.One, S.Zero]:
        return test
    if values == [S.Zero, S.One] and isinstance(test, (Eq, Ne)):
        return Ne(*test.args) if isinstance(test, Eq) else Eq(*test.args)
    return Not(test) if values == [S.Zero, S.One] and isinstance(test, Element) else None


def is_condition(expr: Expr) -> bool:
    """Return whether an expression is a comparison, a connective or an element of a mask."""
    return isinstance(expr, TRUTH) or (isinstance(expr, Element) and expr.kind is Kind.BOOL)


def as_decimal(value: Expr) -> bool:
    """Return whether a coefficient is written 0.01 rather than 1/100."""
    return bool(value.is_Rational) and value.q not in (1, 2, 3, 4, 8) and decimal(value) is not None
