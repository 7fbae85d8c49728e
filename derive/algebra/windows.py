"""Solve Kronecker deltas of affine subscripts: which window reads an element, and through which offset.

The adjoint of ``x[p*s + r - pad]`` is a sum over all windows and offsets,

    dx[i] = sum[p, r](dy[p] * w[r] * delta(i, p*s + r - pad))

and a person writes it solved, over one letter only:

    r = i + pad - p*s       where  0 <= r < R                    (coefficient 1: nothing to divide)
    p = (i + pad - r)/s     where  s | i + pad - r, 0 <= p < P   (any other: divisibility is a condition)
    p = i // k, r = i % k   where  r runs over k and i = k*p + r (windows side by side: each i lies in one)

(the last where ``k`` is at least 1, so that ``r`` has a range at all).

:func:`solve` does this for one delta and one letter, :func:`solved` for all
deltas of a sum. A solution is exact: under its conditions the delta is 1 for
that value of the letter and for no other, elsewhere for none. A letter that
stands in a gather (``t[p]``) or under ``//`` is not solved for, nor is one
whose coefficient is no product of integers, sizes and integer
hyper-parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import sympy
from sympy import Add, Expr, Mul, S

from derive.algebra.functions import FloorDiv, Mod
from derive.algebra.indices import free_indices, fresh, rebuild, substitute
from derive.algebra.nodes import Delta, Element, Hyper, Index, Kind, Padded, Size, Sum

__all__ = ["Condition", "Quotient", "Solution", "SolvedSum", "solve", "solved"]


class Quotient(FloorDiv):
    """``a // b`` where ``b`` divides ``a`` wherever it is evaluated."""


@dataclass(frozen=True, slots=True)
class Condition:
    """``divisor`` divides ``numerator`` and ``0 <= numerator/divisor < size``.

    Attributes:
        numerator: an integer.
        divisor: a nonzero integer, 1 where nothing is divided.
        size: the length of the range, None where the quotient lies inside in any case.
    """

    numerator: Expr
    divisor: Expr
    size: Expr | None

    @property
    def value(self) -> Expr:
        """The quotient."""
        return self.numerator if self.divisor == 1 else Quotient(self.numerator, self.divisor)

    @property
    def divides(self) -> bool:
        """Whether divisibility is a condition."""
        return bool(self.divisor != 1)


@dataclass(frozen=True, slots=True)
class Solution:
    """The delta is 1 where ``letter`` is ``condition.value`` and ``condition`` holds, else 0.

    Where the divisor may be 0 (a hyper-parameter), this holds where it is not.
    """

    letter: Index
    condition: Condition

    @property
    def value(self) -> Expr:
        """The letter's value."""
        return self.condition.value


@dataclass(frozen=True, slots=True)
class SolvedSum:
    """``sum[indices](body)`` over the values of the indices for which all ``conditions`` hold.

    Without indices it is ``body`` where the conditions hold, else 0.
    """

    body: Expr
    indices: tuple[Index, ...]
    conditions: tuple[Condition, ...]


def solve(delta: Delta, letter: Index) -> Solution | None:
    """Return the value of a letter for which the delta is 1, with its conditions.

    None where the delta is not affine in the letter, or its coefficient may not be an integer.
    """
    difference = sympy.expand(delta.args[0] - delta.args[1])
    coefficient, rest = S.Zero, S.Zero
    for term in Add.make_args(difference):
        factors = Mul.make_args(term)
        if letter in factors:
            coefficient += Mul(*(f for f in factors if f != letter))
        else:
            rest += term
    if letter in free_indices(rest) or not rest.is_integer or not _constant(coefficient):
        return None
    numerator = -rest
    if coefficient.could_extract_minus_sign():
        numerator, coefficient = rest, -coefficient
    inside = isinstance(numerator, Index) and coefficient == 1 and numerator.size == letter.size
    return Solution(letter, Condition(numerator, coefficient, None if inside else letter.size))


def _constant(coefficient: Expr) -> bool:
    """Return whether a coefficient is an integer other than 0, the same for all indices."""
    return bool(coefficient != 0) and all(
        (f.is_Integer or isinstance(f, Size) or (isinstance(f, Hyper) and f.kind is Kind.INT))
        for term in Add.make_args(coefficient)
        for factor in Mul.make_args(term)
        for f in (factor.base if factor.is_Pow and factor.exp.is_Integer and factor.exp > 0 else factor,)
    )


def solved(expr: Sum, order: Callable[[Index], object] = str) -> SolvedSum | None:
    """Solve the deltas of a sum of a product; None where no letter can be solved for.

    A letter with coefficient 1 or -1 is preferred, since it needs no division;
    among several the first by ``order``. Deltas that cannot be solved stay.
    """
    indices, factors = list(expr.indices), list(Mul.make_args(expr.body))
    _merge_inner(indices, factors)
    conditions: list[Condition] = []
    done, kept = False, 0
    while True:
        deltas = [f for f in factors if isinstance(f, Delta)]
        if kept == len(deltas):
            break
        delta = deltas[kept]
        values = _digits(delta, indices) or _best(delta, indices, conditions, order)
        if values is None:
            kept += 1
            continue
        factors.remove(delta)
        factors = [_plain(substitute(f, values.letters)) for f in factors]
        conditions = [
            replace(c, numerator=_whole(sympy.expand(substitute(c.numerator, values.letters)))) for c in conditions
        ]
        conditions += values.conditions
        indices = [i for i in indices if i not in values.letters]
        done = True
    return SolvedSum(Mul(*factors), tuple(indices), tuple(conditions)) if done else None


@dataclass(frozen=True, slots=True)
class _Values:
    letters: Mapping[Expr, Expr]
    conditions: tuple[Condition, ...]


def _merge_inner(indices: list[Index], factors: list[Expr]) -> None:
    """Merge sums that are factors and hold a delta into the sum around them, their letters made distinct."""
    for place, factor in enumerate(factors):
        if not isinstance(factor, Sum) or not factor.has(Delta):
            continue
        taken: set[Index | str] = {i for f in factors for i in free_indices(f)} | set(indices)
        renames: dict[Expr, Expr] = {}
        for index in factor.indices:
            renames[index] = fresh(index, taken | free_indices(factor.body) - {index})
            taken.add(renames[index])
        inner = [substitute(f, renames) for f in Mul.make_args(factor.body)]
        _merge_inner(indices, inner)
        factors[place : place + 1] = inner
        indices += [renames[i] for i in factor.indices]
        return _merge_inner(indices, factors)


def _best(
    delta: Delta, indices: Sequence[Index], conditions: Iterable[Condition], order: Callable[[Index], object]
) -> _Values | None:
    found = [s for s in (solve(delta, i) for i in indices) if s is not None]
    # A quotient is not put into another solution: there it would have to be divided once more.
    elsewhere = frozenset().union(*(free_indices(c.numerator) for c in conditions))
    found = [s for s in found if not s.condition.divides or s.letter not in elsewhere]
    if not found:
        return None
    best = min(found, key=lambda s: (s.condition.divides, not s.condition.divisor.is_Integer, order(s.letter)))
    return _Values({best.letter: best.value}, (best.condition,) if _matters(best.condition) else ())


def _matters(condition: Condition) -> bool:
    return condition.divides or condition.size is not None


def _digits(delta: Delta, indices: Sequence[Index]) -> _Values | None:
    """``delta(i, k*p + r)`` with ``r`` in range(k): ``p`` is ``i // k`` and ``r`` is ``i % k``."""
    for low in indices:
        offset = solve(delta, low)
        if offset is None or offset.condition.divides:
            continue
        for high in indices:
            if high is low:
                continue
            whole = solve(delta, high)
            if whole is None or whole.condition.divisor != low.size or low.size == 1:
                continue
            number = sympy.expand(whole.condition.numerator + low)
            if low in free_indices(number) or high in free_indices(number):
                continue
            block, rest = FloorDiv(number, low.size), Mod(number, low.size)
            return _Values({high: block, low: rest}, (Condition(number, S.One, low.size * high.size),))
    return None


def _plain(expr: Expr) -> Expr:
    """Multiply subscripts out; a padded read at plain letters needs no padding."""
    if not expr.args:
        return expr
    new = rebuild(expr, map(_plain, expr.args))
    if isinstance(new, (Element, Delta)):
        places = {a: _whole(sympy.expand(a)) for a in new.args if isinstance(a, (Add, Mul))}
        return rebuild(new, (places.get(a, a) for a in new.args))
    if isinstance(new, Padded) and all(isinstance(s, Index) for s in new.element.subscripts):
        return new.element
    return new


def _whole(expr: Expr) -> Expr:
    """``k*(i // k) + i % k`` is ``i``, and so is ``k*(i/k)``."""
    atoms = [a for term in Add.make_args(expr) for a in Mul.make_args(term)]
    for rest in atoms:
        if isinstance(rest, Mod):
            number, k = rest.args
            less = sympy.expand(expr - expr.coeff(rest) * (k * FloorDiv(number, k) + rest))
            if not less.has(rest, FloorDiv(number, k)):
                return sympy.expand(less + expr.coeff(rest) * number)
        if isinstance(rest, Quotient):
            number, k = rest.args
            times = sympy.cancel(expr.coeff(rest) / k)
            if sympy.fraction(times)[1] == 1:
                return sympy.expand(expr - times * k * rest + times * number)
    return expr
