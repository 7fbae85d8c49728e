"""What LaTeX and the terminal share: how a formula is put together.

:class:`Printer` walks an expression; its subclasses say how a fraction, a
root, a sum sign looks. Parentheses stand only where they are needed, and
``box`` gives the formula on one line, ``pieces`` cut where it may be broken:

    dy[n, d] - mean[k](dy[n, k])        box      one line
                                        pieces   "dy[n,d]", " − meanₖ(", "dy[n,k])"
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import sympy
from sympy import Add, Expr, Integer, Mul, Pow, Rational, S

from derive.algebra.affine import affine_factors, affine_terms, is_affine
from derive.algebra.functions import And, Eq, FloorDiv, Ge, Le, Mod, Ne, Not, Or, Where
from derive.algebra.indices import free_indices, is_binder, substitute
from derive.algebra.nodes import Delta, Element, Index, KeepingReduction, Mean, Padded, Partial, Reduction, Sum
from derive.algebra.windows import Quotient as Even
from derive.algebra.windows import solved
from derive.render.bounds import conditions_of, letter_order
from derive.render.formula import (
    ADD,
    AND,
    ATOM,
    COMPARE,
    MUL,
    NOT,
    OR,
    POWER,
    PREFIX,
    TRUTH,
    Box,
    Notation,
    Quotient,
    as_decimal,
    indicator,
    is_condition,
    rank,
    terms,
)

__all__ = ["Printer", "is_digamma"]

_BOTH = And(S.One, S.One)


class Printer(ABC):
    """Turns expressions into boxes and pieces; subclasses say how things look.

    Attributes:
        means_as_sums: whether a mean is written as a sum and a factor.
        wide, widest: what still stands in a fraction, what on one line in a long formula.
        alternatives: what is not broken by itself.
        solves: whether deltas are shown solved.
        calls: whether a sum has its body in parentheses.
        divisors: what had to divide something in the formulas printed so far.
    """

    means_as_sums = False
    solves = True
    calls = False
    wide = 0.0
    widest = 0.0
    alternatives = 0.0
    slash: str
    plus: tuple[str, float]
    minus: tuple[str, float]
    times: str
    comma: tuple[str, float]
    words: tuple[tuple[str, float], tuple[str, float], tuple[str, float]]

    def __init__(self, notation: Notation) -> None:
        self.notation = notation
        self._boxes: dict[Expr, Box] = {}
        self.divisors: dict[Expr, None] = {}

    # What a subclass says.

    @abstractmethod
    def number(self, value: Expr) -> Box:
        """Return a non-negative number or a constant."""

    @abstractmethod
    def symbol(self, expr: Expr) -> Box:
        """Return a size, hyper-parameter or index."""

    @abstractmethod
    def element(self, expr: Element) -> Box:
        """Return a tensor with its subscripts."""

    @abstractmethod
    def padded(self, expr: Padded) -> Box:
        """Return an element that has a value outside its axes."""

    @abstractmethod
    def divides(self, divisor: Box, number: Box) -> Box:
        """Return the statement that one integer divides another."""

    @abstractmethod
    def delta(self, expr: Delta) -> Box:
        """Return Kronecker's delta."""

    @abstractmethod
    def partial(self, of: Box, wrt: Box) -> Box:
        """Return a partial derivative of one element with respect to another."""

    @abstractmethod
    def fraction(self, above: Box, below: Box) -> Box:
        """Return a quotient."""

    @abstractmethod
    def root(self, base: Box) -> Box:
        """Return the square root."""

    @abstractmethod
    def power(self, base: Box, exponent: Box) -> Box:
        """Return a power; ``base`` holds together and is not raised."""

    @abstractmethod
    def exponential(self, arg: Box) -> Box | None:
        """Return e to a short power, or None where exp(…) reads better."""

    @abstractmethod
    def delimiters(self, tall: int) -> tuple[str, str, float]:
        """Return the parentheses for a content so tall, and their width together."""

    @abstractmethod
    def product(self, factors: Sequence[Box]) -> Box:
        """Return factors side by side."""

    @abstractmethod
    def prefix(self, expr: Reduction, conditions: Sequence[Box] = ()) -> Box:
        """Return the sign of a sum, product, maximum or minimum over indices for which conditions hold."""

    @abstractmethod
    def head(self, expr: Expr) -> Box | None:
        """Return what stands before the parenthesised arguments; None where it is no call."""

    @abstractmethod
    def special(self, expr: Expr, args: Sequence[Box]) -> Box:
        """Return a function that is not written as a call, such as the absolute value."""

    @abstractmethod
    def at(self, inner: Box, bound: Sequence[Expr], place: Sequence[Expr]) -> Box:
        """Return a softmax read at a place that is not its own index."""

    @abstractmethod
    def cases(self, rows: Sequence[tuple[Box, Box | None]]) -> Box:
        """Return alternatives, each with its condition; the last has none."""

    @abstractmethod
    def truth(self, condition: Box) -> Box:
        """Return 1 where the condition holds, else 0."""

    @abstractmethod
    def relation(self, expr: Expr) -> tuple[str, float]:
        """Return the sign of a comparison or connective, with its gaps."""

    # What follows from it.

    def box(self, expr: Expr) -> Box:
        """Return the expression on one line."""
        if expr not in self._boxes:
            self._boxes[expr] = self._printed(expr)
        return self._boxes[expr]

    def _printed(self, expr: Expr) -> Box:
        if isinstance(expr, Element):
            return self.element(expr)
        if isinstance(expr, Padded):
            return self.padded(expr)
        if isinstance(expr, Delta):
            return self.delta(expr)
        if isinstance(expr, Even):
            return self.slashed(*(self.box(a) for a in expr.args))
        if isinstance(expr, Partial):
            return self.partial(self.box(expr.args[0]), self.box(expr.args[1]))
        if isinstance(expr, Add):
            return self._sum(expr)
        if isinstance(expr, Mean) and self.means_as_sums:
            return self._quotient(expr)
        if isinstance(expr, PREFIX):
            return self._reduction(expr)
        if isinstance(expr, (Mul, Pow)) or (expr.is_number and expr.is_Rational):
            return self._quotient(expr)
        if isinstance(expr, KeepingReduction):
            return self._keeping(expr)
        truth = indicator(expr)
        if truth is not None:
            return self.box(truth)
        if isinstance(expr, Where):
            return self.cases(self._rows(expr))
        if isinstance(expr, TRUTH):
            return self.truth(self.condition(expr))
        if isinstance(expr, sympy.exp):
            short = self.exponential(self.box(expr.args[0]))
            if short is not None:
                return short
        if expr is S.NegativeInfinity:
            return self._negated(self.number(S.Infinity))
        if expr.is_number and not expr.args:
            return self.number(expr)
        if not expr.args:
            return self.symbol(expr)
        head = self.head(expr)
        if head is None:
            return self.special(expr, [self.box(a) for a in self._arguments(expr)])
        return self._call(head, [self.box(a) for a in self._arguments(expr)])

    def inside(self, box: Box, level: int) -> Box:
        """Return the box, in parentheses where it holds together less than ``level``."""
        return box if box.level >= level else self.parens(box)

    def parens(self, box: Box) -> Box:
        """Return the box in parentheses."""
        left, right, width = self.delimiters(box.tall)
        return Box(left + box.text + right, box.width + width, ATOM, box.tall)

    def condition(self, expr: Expr, level: int = OR) -> Box:
        """Return a truth value as a statement: ``s <= t and m[s] > 0``."""
        between = self._between(expr)
        if between is not None:
            return between
        if isinstance(expr, (And, Or)):
            own = AND if isinstance(expr, And) else OR
            a, b = (self.condition(x, own + k) for k, x in enumerate(expr.args))
        elif isinstance(expr, Not):
            own = NOT
            sign, width = self.relation(expr)
            a = self.condition(expr.args[0], NOT)
            out = Box(sign + a.text, width + a.width, ADD, a.tall)
            return out if own >= level else self.parens(out)
        elif isinstance(expr, TRUTH):
            own = COMPARE
            a, b = (self.box(x) for x in expr.args)
        else:
            return self.box(expr)
        sign, width = self.relation(expr)
        out = Box(a.text + sign + b.text, a.width + width + b.width, ADD, max(a.tall, b.tall))
        return out if own >= level else self.parens(out)

    def _between(self, expr: Expr) -> Box | None:
        """Write ``x >= lo and x <= hi`` as ``lo <= x <= hi``."""
        if not isinstance(expr, And) or not all(isinstance(a, (Ge, Le)) for a in expr.args):
            return None
        (low, high) = expr.args
        if not (isinstance(low, Ge) and isinstance(high, Le) and low.args[0] == high.args[0]):
            return None
        a, x, b = (self.box(e) for e in (low.args[1], low.args[0], high.args[1]))
        sign, width = self.relation(high)
        total = a.width + x.width + b.width + 2 * width
        return Box(a.text + sign + x.text + sign + b.text, total, ADD, max(a.tall, x.tall, b.tall))

    def _rows(self, expr: Expr) -> list[tuple[Box, Box | None]]:
        rows: list[tuple[Box, Box | None]] = []
        while isinstance(expr, Where):
            test, value, other = expr.args
            rows.append((self.box(value), self.condition(test)))
            expr = other
        rows.append((self.box(expr), None))
        return rows

    def _arguments(self, expr: Expr) -> tuple[Expr, ...]:
        if is_binder(expr):
            return (expr.args[0],)
        return tuple(expr.args[1:] if is_digamma(expr) else expr.args)

    def _negated(self, box: Box) -> Box:
        box = self.inside(box, MUL)
        return Box(self.negative + box.text, self.minus[1] + box.width, ADD, box.tall, box.open)

    @property
    def negative(self) -> str:
        """The sign of a negative number or first term."""
        return "-"

    def _sum(self, expr: Expr) -> Box:
        common, parts = self._terms(expr)
        if common != 1:
            return self._quotient(self._common_factor(common, parts))
        text, width, tall = "", 0.0, 0
        box = None
        for negative, term in parts:
            box = self.box(term) if isinstance(term, (FloorDiv, Mod)) else self.inside(self.box(term), MUL)
            if not text:
                text, width = (self.negative if negative else ""), (self.minus[1] if negative else 0.0)
            else:
                sign, gap = self.minus if negative else self.plus
                text, width = text + sign, width + gap
            text, width, tall = text + box.text, width + box.width, max(tall, box.tall)
        assert box is not None
        return Box(text, width, ADD, tall, box.open)

    def _terms(self, expr: Expr) -> tuple[Rational, list[tuple[bool, Expr]]]:
        if is_affine(expr):
            return S.One, affine_terms(expr, self.notation.letter)
        return terms(expr, self.notation)

    @staticmethod
    def _common_factor(common: Rational, parts: Sequence[tuple[bool, Expr]]) -> Expr:
        rest = Add(*(-t if negative else t for negative, t in parts))
        return Mul(common, rest, evaluate=False)

    def _reduction(self, expr: Reduction) -> Box:
        prefix, inner = self.split(expr)
        body = self.inside(self.box(inner), MUL)
        return Box(prefix.text + body.text, prefix.width + body.width, MUL, max(prefix.tall, body.tall), True)

    def split(self, expr: Reduction) -> tuple[Box, Expr]:
        """Return the sign with its letters and conditions, and what stands after it; a window is solved."""
        form = (
            solved(expr, letter_order(expr, self.notation))
            if self.solves and isinstance(expr, Sum) and expr.has(Delta)
            else None
        )
        if form is None:
            return self.prefix(expr), expr.body
        conditions = [c for condition in form.conditions for c in conditions_of(condition, self)]
        if form.indices:
            return self.prefix(Sum(form.body, *form.indices), conditions), form.body
        if not conditions:
            return Box("", 0.0, MUL), form.body
        sign, width = self.relation(_BOTH)
        text = sign.join(c.text for c in conditions)
        whole = self.truth(Box(text, sum(c.width for c in conditions) + width * (len(conditions) - 1), ADD))
        gap = self.gap(whole.text, whole, self.box(form.body))
        return Box(whole.text + gap, whole.width + 2.0, MUL, whole.tall), form.body

    def slashed(self, above: Box, below: Box) -> Box:
        """Return a quotient on the line."""
        above, below = self.inside(above, MUL), self.inside(below, POWER)
        return Box(f"{above.text}/{below.text}", above.width + below.width + 5.0, MUL)

    def _keeping(self, expr: KeepingReduction) -> Box:
        expr = self._read_at_own(expr)
        head = self.head(expr)
        assert head is not None
        call = self._call(head, [self.box(expr.body)])
        if expr.at == expr.indices:
            return call
        return self.at(call, expr.indices, expr.at)

    @staticmethod
    def _read_at_own(expr: KeepingReduction) -> KeepingReduction:
        """Write ``softmax over k of z[k], at c`` as ``softmax over c of z[c]`` where c is free for it."""
        taken = free_indices(expr.body)
        names = {i.name for i in taken}
        if expr.at == expr.indices or not all(isinstance(a, Index) for a in expr.at):
            return expr
        if len(set(expr.at)) < len(expr.at) or any(a.name in names for a in expr.at):
            return expr
        if any(a.size != i.size for a, i in zip(expr.at, expr.indices, strict=True)):
            return expr
        body = substitute(expr.body, dict(zip(expr.indices, expr.at, strict=True)))
        return expr.func(body, expr.at, expr.at)

    def _call(self, head: Box, args: Sequence[Box]) -> Box:
        tall = max(a.tall for a in args)
        left, right, width = self.delimiters(tall)
        text = head.text + left + self.comma[0].join(a.text for a in args) + right
        total = head.width + width + sum(a.width for a in args) + self.comma[1] * (len(args) - 1)
        return Box(text, total, ATOM, tall, wordy=True)

    def quotient(self, expr: Expr) -> Quotient:
        """Split a product or power into factors above and below the line, in order."""
        coefficient, rest = expr.as_coeff_Mul()
        negative = bool(coefficient.is_negative)
        coefficient = abs(coefficient)
        above: list[Expr] = []
        below: list[Expr] = []
        roots: list[Expr] = [S.One, S.One]
        given = [f for f in Mul.make_args(rest) if f is not S.One]
        for factor in (g for f in given for g in (_where_it_counts(f) if len(given) > 1 else (f,))):
            if isinstance(factor, Add):  # a (x/2 + 1/2) = 1/2 a (x + 1)
                common, parts = terms(factor, self.notation)
                coefficient *= common
                factor = Add(*(-t if minus else t for minus, t in parts)) if common != 1 else factor
            if isinstance(factor, Mean) and self.means_as_sums:
                above.append(Sum(*factor.args))
                below.extend(Mul.make_args(factor.count))
            elif isinstance(factor, Pow) and factor.exp.as_coeff_Mul()[0].is_negative:
                if factor.exp == -S.Half and factor.base.is_number:
                    roots[1] *= factor.base
                else:
                    below.append(Pow(factor.base, -factor.exp))
            elif isinstance(factor, Pow) and factor.exp == S.Half and factor.base.is_number:
                roots[0] *= factor.base
            else:
                above.append(factor)
        if roots[0].is_Integer and coefficient.is_Rational and coefficient.q % int(roots[0]) == 0 and roots[0] != 1:
            roots, coefficient = [S.One, roots[0] * roots[1]], coefficient * roots[0]  # √2/2 = 1/√2
        if S.One not in roots:
            roots = [roots[0] / roots[1], S.One]
        for side, root in zip((above, below), roots, strict=True):
            if root is not S.One:
                side.append(Pow(root, S.Half, evaluate=False))
        if coefficient.is_Rational and not as_decimal(coefficient):
            if coefficient.p != 1:
                above.append(Integer(coefficient.p))
            if coefficient.q != 1:
                below.append(Integer(coefficient.q))
        elif coefficient != 1:
            above.append(coefficient)
        counts = [b for b in below if not b.is_number]
        plain = Mul(*(b for b in below if b.is_number and b.is_Integer))
        below = [*([] if plain == 1 else [plain]), *(b for b in below if b.is_number and not b.is_Integer), *counts]
        largest = max((len(free_indices(f)) for f in (*above, *below)), default=0)
        above = sorted(above, key=lambda f: rank(f, self.notation, largest))
        below = sorted(_gathered(below), key=lambda f: rank(f, self.notation, largest))
        return Quotient(negative, tuple(above), tuple(below))

    def _parts(self, expr: Expr) -> tuple[bool, tuple[Expr, ...], tuple[Expr, ...], tuple[Expr, ...]]:
        """Return sign, factors above, below and after the line."""
        split = self.quotient(expr)
        above, below = split.above, split.below
        if not below:
            return split.negative, (), (), above
        ranks = [rank(f, self.notation)[0] for f in above]
        if all(f.is_number for f in below):
            if len(above) == 1 and ranks[0] in (2, 3, 6) and self._width(above) <= self.wide:
                return split.negative, above, below, ()
            after = tuple(f for f, r in zip(above, ranks, strict=True) if r != 0)
        elif all(rank(f, self.notation)[0] in (0, 1, 2, 3) for f in below):
            if len(above) == 1 and ranks[0] == 6 and self._width(above) <= self.wide:
                return split.negative, above, below, ()
            after = tuple(f for f, r in zip(above, ranks, strict=True) if r in (5, 6, 7, 8))
        else:
            long = self._width(above) > self.wide
            after = tuple(f for f, r in zip(above, ranks, strict=True) if r == 7 or (long and r in (6, 8)))
        return split.negative, tuple(f for f in above if f not in after), below, after

    def _width(self, factors: Sequence[Expr]) -> float:
        return sum(self.box(f).width for f in factors)

    def _quotient(self, expr: Expr) -> Box:
        if isinstance(expr, Pow) and not expr.exp.as_coeff_Mul()[0].is_negative:
            return self._power(expr)
        affine = affine_factors(expr)
        if affine is not None:
            number, factors = affine
            row = [*([self.number(abs(number))] if abs(number) != 1 else []), *map(self.symbol, factors)]
            return self._negated(self.product(row)) if number < 0 else self.product(row)
        if expr.is_Rational and (expr.q == 1 or as_decimal(expr)):
            return self.number(expr) if expr >= 0 else self._negated(self.number(-expr))
        negative, above, below, after = self._parts(expr)
        boxes: list[Box] = []
        if below:
            bottom = self._row(below)
            boxes.append(self.fraction(self._row(above) if above else self.number(S.One), bottom))
        boxes += self._factors(after, bool(boxes))
        box = boxes[0] if len(boxes) == 1 else self.product(boxes)
        if negative:
            return self._negated(box)
        return box

    def _factors(self, factors: Sequence[Expr], beside: bool = False) -> list[Box]:
        """Return the boxes of factors that stand side by side."""
        boxes = []
        for i, factor in enumerate(factors):
            box = self.box(factor)
            if len(factors) > 1 or beside:
                box = self.inside(box, MUL + (not box.open and box.level < POWER))
            if box.open and i < len(factors) - 1:
                box = self.parens(box)
            boxes.append(box)
        return boxes

    def _row(self, factors: Sequence[Expr]) -> Box:
        boxes = self._factors(factors)
        return boxes[0] if len(boxes) == 1 else self.product(boxes)

    def _power(self, expr: Pow) -> Box:
        base, exponent = expr.args
        if exponent == S.Half:
            return self.root(self.box(base))
        box = self.box(base)
        if box.level < ATOM or box.raised:
            box = self.parens(box)
        return self.power(box, self._exponent(exponent))

    def _exponent(self, exponent: Expr) -> Box:
        if exponent.is_Rational and exponent.q != 1 and not as_decimal(exponent):
            a, b = self.number(Integer(exponent.p)), self.number(Integer(exponent.q))
            return Box(f"{a.text}/{b.text}", a.width + b.width, MUL)
        return self.box(exponent)

    @abstractmethod
    def gap(self, before: str, left: Box | None, right: Box) -> str:
        """Return what stands between two factors on a line."""


def _where_it_counts(factor: Expr) -> tuple[Expr, ...]:
    """In a product, alternatives of which the other is 0 are a factor 1 or 0 and what stands beside it."""
    if isinstance(factor, Where) and is_condition(factor.args[0]):
        test, value, other = factor.args
        if other is S.Zero:
            return Where(test, 1, 0), *(f for f in Mul.make_args(value) if f is not S.One)
        if value is S.Zero:
            opposite = Where(test, 0, 1) if isinstance(test, (Eq, Ne, Element)) else Where(Not(test), 1, 0)
            return opposite, *(f for f in Mul.make_args(other) if f is not S.One)
    return (factor,)


def is_digamma(expr: Expr) -> bool:
    """Return whether SymPy has written digamma(x) as polygamma(0, x)."""
    return isinstance(expr, sympy.polygamma) and bool(expr.args[0].is_zero)


def _gathered(factors: Sequence[Expr]) -> list[Expr]:
    """Multiply equal factors into powers, N·N to N²; numbers stay apart."""
    counted: dict[Expr, int] = {}
    for factor in factors:
        counted[factor] = counted.get(factor, 0) + 1
    return [f if n == 1 else Pow(f, n) for f, n in counted.items()]
