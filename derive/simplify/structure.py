"""From terms to the expression one would write: common factors out, means as means.

γ·rstd·dy - 1/N·γ·rstd·dbeta - 1/N·γ·rstd·xhat·dgamma
    ⟶  γ·rstd/N · (N·dy - dbeta - xhat·dgamma)
rstd·g - 1/D·rstd·Σ g - 1/D·rstd·xhat·Σ g·xhat
    ⟶  rstd · (g - mean(g) - xhat·mean(g·xhat))
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from sympy import Add, Expr, Mul, Rational, S, gcd

from derive.algebra.indices import free_indices, names
from derive.algebra.nodes import Element, Mean, Size, Sum
from derive.algebra.terms import Term, Terms, components

__all__ = ["common_factors", "expression"]


def common_factors(terms: Sequence[Term]) -> dict[Expr, Expr]:
    """Return the factors outside the sums that all terms share, with the exponents they share."""
    shared: dict[Expr, Expr] | None = None
    for term in terms:
        outer = dict(components(term)[0])
        if shared is None:
            shared = outer
            continue
        kept: dict[Expr, Expr] = {}
        for atom, exponent in shared.items():
            other = outer.get(atom)
            if other is None:
                continue
            if (exponent > 0) == (other > 0):
                kept[atom] = min(exponent, other) if exponent > 0 else max(exponent, other)
        shared = kept
    return shared or {}


def expression(terms: Terms) -> Expr:
    """Return the terms as one expression with common factors taken out."""
    if not terms:
        return S.Zero
    if len(terms) == 1:
        return _single(terms[0])
    return _grouped([_with_means(t) for t in terms])


class _Part:
    """A term as an exact coefficient, outer factors, and finished sums."""

    def __init__(self, coefficient: Expr, outer: dict[Expr, Expr], sums: list[Expr]) -> None:
        self.coefficient = coefficient
        self.outer = outer
        self.sums = sums

    def expr(self) -> Expr:
        return Mul(self.coefficient, *(a**e for a, e in self.outer.items()), *self.sums)


def _single(term: Term) -> Expr:
    part = _with_means(term)
    return part.expr()


def _with_means(term: Term) -> _Part:
    """Turn ``1/N · Σ_n`` into a mean where the count is exactly there."""
    outer_list, groups = components(term)
    outer = dict(outer_list)
    coefficient: Expr = term.coefficient
    sums: list[Expr] = []
    for factors, bound in groups:
        body = Mul(*(a**e for a, e in factors))
        sizes = [i.size for i in bound]
        fits = all(outer.get(s, S.Zero) <= -sizes.count(s) if not s.is_Integer else False for s in sizes)
        if fits:
            for size in sizes:
                outer[size] = outer[size] + 1
            outer = {a: e for a, e in outer.items() if e != 0}
            sums.append(Mean(body, *bound))
        elif len(sizes) == 1 and sizes[0].is_Integer and sizes[0] != 1 and (coefficient.q % int(sizes[0])) == 0:
            coefficient = coefficient * sizes[0]
            sums.append(Mean(body, *bound))
        else:
            sums.append(Sum(body, *bound))
    return _Part(coefficient, outer, sums)


def _weight(atom: Expr) -> int:
    return len(free_indices(atom)) + 1


def _grouped(parts: list[_Part]) -> Expr:
    """Sum of parts: the factors that all share in front, the rest grouped by what most share."""
    if len(parts) == 1:
        return parts[0].expr()
    front: dict[Expr, Expr] = {}
    for atom in parts[0].outer:
        exponents = [p.outer.get(atom, S.Zero) for p in parts]
        if all(e > 0 for e in exponents):
            front[atom] = min(exponents)
        elif all(e < 0 for e in exponents):
            front[atom] = max(exponents)
    # 1/N beside terms without it: γ·rstd/N·(N·dy - …) reads better and divides once.
    for atom in dict.fromkeys(a for p in parts for a in p.outer):
        if isinstance(atom, Size) and atom not in front:
            exponents = [p.outer.get(atom, S.Zero) for p in parts]
            if sum(bool(e < 0) for e in exponents) > 1:
                front[atom] = min(exponents)
    for part in parts:
        for atom, exponent in front.items():
            left = part.outer.get(atom, S.Zero) - exponent
            part.outer.pop(atom, None)
            if left != 0:
                part.outer[atom] = left
    for shared in _shared_sums(parts):
        for part in parts:
            part.sums.remove(shared)
        front[shared] = S.One
    number = _content([p.coefficient for p in parts])
    for part in parts:
        part.coefficient = part.coefficient / number
    inner = _horner(parts)
    return Mul(number, *(a**e for a, e in front.items()), inner)


def _shared_sums(parts: list[_Part]) -> list[Expr]:
    return [s for s in dict.fromkeys(parts[0].sums) if all(s in p.sums for p in parts)]


def _content(coefficients: list[Expr]) -> Expr:
    """The rational number to take out: the greatest common divisor, negative where all are."""
    sign = -1 if all(c < 0 for c in coefficients) else 1
    if all(abs(c) == abs(coefficients[0]) for c in coefficients):
        return sign * abs(coefficients[0])
    common = reduce(gcd, [abs(c) for c in coefficients])
    if common.is_Integer:
        return sign * common
    return Rational(sign)


def _horner(parts: list[_Part]) -> Expr:
    """Group the terms that share a factor, the largest group first."""
    if len(parts) < 3:
        return Add(*(p.expr() for p in parts))
    counts: dict[Expr, int] = {}
    for part in parts:
        for atom, exponent in part.outer.items():
            if exponent > 0 and names(atom) and isinstance(atom, Element):
                counts[atom] = counts.get(atom, 0) + 1
    best = max(counts, key=lambda a: (counts[a], _weight(a), -list(counts).index(a)), default=None)
    if best is None or counts[best] < 2:
        return Add(*(p.expr() for p in parts))
    inside = [p for p in parts if p.outer.get(best, S.Zero) > 0]
    outside = [p for p in parts if not p.outer.get(best, S.Zero) > 0]
    group = _grouped(inside)
    if not outside:
        return group
    rest = _horner(outside) if len(outside) > 1 else outside[0].expr()
    return Add(group, rest)
