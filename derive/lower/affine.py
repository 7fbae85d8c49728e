"""Affine subscripts: their letters, where they lead, and which of them are slices.

    p*stride + r - pad      start -pad, letters p (stride) and r (1)

Inside one axis, a subscript with one letter is a slice, ``x[start : … : stride]``;
with several it is a view with an axis for each (:mod:`derive.lower.windows`). A
factor of a letter is taken to be positive where it is a product of sizes and
integer hyper-parameters: that a stride is at least 1 is verified when a layer
runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import sympy
from sympy import Add, Dummy, Expr, Integer, Mul, S

from derive.algebra.functions import FloorDiv
from derive.algebra.indices import free_indices
from derive.algebra.nodes import BATCH, Hyper, Index, Kind, Size
from derive.language.bounds import Bounds
from derive.language.layer import Condition, DerivedSize
from derive.lower.arrays import Span
from derive.lower.scalars import is_number, sizes_in

__all__ = ["Affine", "Ranges", "affine"]


@dataclass(frozen=True, slots=True)
class Affine:
    """``start + sum(factor*letter)``; every factor has a sign.

    Attributes:
        start: a Python number.
        letters: each with its factor, in the order of their names.
    """

    start: Expr
    letters: tuple[tuple[Index, Expr], ...]

    @property
    def least(self) -> Expr:
        """The smallest value."""
        return self.start + Add(*(f * (i.size - 1) for i, f in self.letters if not _is_positive(f)))

    @property
    def largest(self) -> Expr:
        """The largest value."""
        return self.start + Add(*(f * (i.size - 1) for i, f in self.letters if _is_positive(f)))


def affine(expr: Expr) -> Affine | None:
    """Return an affine expression of index letters taken apart, or None where it is none."""
    if is_number(expr) or not expr.is_integer or BATCH in free_indices(expr):
        return None
    expanded = expr.expand()
    letters: list[tuple[Index, Expr]] = []
    rest = expanded
    for letter in sorted(free_indices(expr), key=lambda i: i.name):
        factor = expanded.coeff(letter)
        if not is_number(factor) or _sign(factor) == 0:
            return None
        letters.append((letter, factor))
        rest -= factor * letter
    rest = rest.expand()
    return Affine(rest, tuple(letters)) if is_number(rest) and letters else None


def _is_positive(factor: Expr) -> bool:
    return _sign(factor) > 0


def _sign(factor: Expr) -> int:
    """Return 1 or -1 for a factor of that sign, hyper-parameters taken to be positive; 0 where it isn't known."""
    hypers = {h: Dummy(integer=True, positive=True) for h in factor.free_symbols if isinstance(h, Hyper)}
    if any(h.kind is not Kind.INT for h in hypers):
        return 0
    factor = factor.xreplace(hypers)
    return 1 if factor.is_positive else -1 if factor.is_negative else 0


class Ranges:
    """What is known of the sizes of a layer.

    Attributes:
        derived: the formulas of the sizes that are computed.
        order: every size, in order of appearance.
    """

    def __init__(
        self,
        derived: Iterable[DerivedSize] = (),
        order: Sequence[Size] = (),
        conditions: Iterable[Condition] = (),
    ) -> None:
        self.derived: Mapping[Expr, Expr] = {d.size: d.expr for d in derived}
        self.order = {size: k for k, size in enumerate((*order, *self.derived))}
        self._proved: dict[Expr, bool] = {}
        self._bounds = Bounds()
        for condition in conditions:
            self._bounds.assume(self.unfolded(condition.expr))

    def unfolded(self, expr: Expr) -> Expr:
        """Return an expression with the computed sizes replaced by their formulas."""
        while found := expr.free_symbols & self.derived.keys():
            expr = expr.xreplace({size: self.derived[size] for size in found})
        return expr.expand()

    def upper(self, expr: Expr) -> Expr:
        """Return a bound from above, without quotients where they stand multiplied by their divisors.

        ``(P - 1)*stride`` with ``P = (H - R)//stride + 1`` is at most ``H - R``.
        """
        expr = self.unfolded(expr)
        terms: list[Expr] = []
        for term in Add.make_args(expr):
            quotient = next((f for f in Mul.make_args(term) if isinstance(f, FloorDiv)), None)
            if quotient is not None:
                above, below = quotient.args
                times = (term / quotient / below).cancel()
                if times.is_integer and not any(f.is_Pow and f.exp.is_negative for f in Mul.make_args(times)):
                    sign = _sign(times)
                    if sign > 0:
                        term = times * above
                    elif sign < 0:
                        term = times * (above - below + 1)
            terms.append(term)
        return Add(*terms).expand()

    def is_at_least(self, expr: Expr, bound: int = 0) -> bool:
        """Return whether an expression of sizes and hyper-parameters is surely at least ``bound``."""
        expr = self.unfolded(expr - bound)
        if expr.is_number:
            return bool(expr >= 0)
        if expr not in self._proved:
            self._proved[expr] = self._bounds.plainly(expr)
        return self._proved[expr]

    def is_inside(self, place: Expr, size: Expr) -> bool:
        """Return whether a place along an axis, a number to the code, surely lies inside; every proof is tried."""
        return all(self.is_at_least(e) or self._bounds.at_least(self.unfolded(e)) for e in (place, size - 1 - place))

    def is_equal(self, a: Expr, b: Expr) -> bool:
        """Return whether two expressions are surely the same number."""
        return a == b or bool(self.unfolded(a - b) == 0)

    def width(self, expr: Expr) -> Expr:
        """Return how far past an end a subscript leads: 0 where it surely stays inside."""
        return S.Zero if self.is_at_least(-expr) else expr

    def span(self, start: Expr, step: Expr, count: Expr, length: Expr) -> Span:
        """Return the slice of ``count`` elements from ``start`` on along an axis of ``length`` that has them all."""
        stop: Expr | None = sympy.expand(start + step * count)
        if step == 1:
            left = self.unfolded(length - start - count)
            if left == 0:
                stop = None
            elif left.is_Integer and left > 0:
                stop = -left
        elif self._ends(start, step, count, length):
            stop = None
        return Span(start if start != 0 else None, stop, step)

    def _ends(self, start: Expr, step: Expr, count: Expr, length: Expr) -> bool:
        """Return whether the axis ends before there could be one element more."""
        if self.is_equal(length - start - 1, (count - 1) * step):
            return True
        if step.is_Integer:
            return self.is_at_least(step * count + start - length)
        quotient = FloorDiv(self.unfolded(length - start - 1), step) + 1
        return self.is_equal(count, quotient)

    def offsets(self, letters: Sequence[tuple[Index, Expr]], length: Expr) -> tuple[tuple[Index, Expr], ...]:
        """Put the position first, the letter along which an axis is long; the others are the offsets of a window.

        Args:
            letters: of one subscript, with their factors.
            length: of the axis.
        """
        sizes = sizes_in(self.unfolded(length)) | sizes_in(length)

        def rank(item: tuple[Index, Expr]) -> tuple[object, ...]:
            letter, factor = item
            own = sizes_in(self.unfolded(letter.size)) | sizes_in(letter.size)
            first = min((self.order.get(s, len(self.order)) for s in own), default=len(self.order) + 1)
            return (not own, not own & sizes, first, factor.is_Integer, letter.name)

        first, *rest = sorted(letters, key=rank)
        return (first, *sorted(rest, key=lambda item: item[0].name))

    def is_small(self, letter: Index) -> bool:
        """Return whether the range of a letter is a number or a hyper-parameter, as that of a window often is."""
        return not sizes_in(letter.size) and not sizes_in(self.unfolded(letter.size))

    def tight(self, letters: Sequence[tuple[Index, Expr]]) -> tuple[Index, ...] | None:
        """Return the letters, the slowest first, if together they number ``0 … n-1`` as digits do; else None."""
        left = list(letters)
        found: list[Index] = []
        unit: Expr = Integer(1)
        while left:
            item = next((i for i in left if self.is_equal(i[1], unit)), None)
            if item is None:
                return None
            left.remove(item)
            found.insert(0, item[0])
            unit = sympy.expand(unit * item[0].size)
        return tuple(found)
