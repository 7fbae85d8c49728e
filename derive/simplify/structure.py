"""From terms to the expression one would write: common factors out, means as means.

γ·rstd·dy - 1/N·γ·rstd·dbeta - 1/N·γ·rstd·xhat·dgamma
    ⟶  γ·rstd/N · (N·dy - dbeta - xhat·dgamma)
rstd·g - 1/D·rstd·Σ g - 1/D·rstd·xhat·Σ g·xhat
    ⟶  rstd · (g - mean(g) - xhat·mean(g·xhat))
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from functools import lru_cache, reduce

import sympy
from sympy import Add, Expr, Mul, Pow, Rational, S, gcd

from derive.algebra.functions import Sigmoid, Sign, Where
from derive.algebra.indices import free_indices, names, substitute
from derive.algebra.nodes import Delta, Element, Mean, Padded, Size, Softmax, Sum
from derive.algebra.terms import Term, Terms, canonical, components

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
            common = _common_exponent([exponent, other])
            if common is not None:
                kept[atom] = common
        shared = kept
    return shared or {}


def expression(terms: Terms, results: Container[str] = ()) -> Expr:
    """Return the terms as one expression with common factors taken out.

    Args:
        terms: what to add up.
        results: names of sums that are computed anyway; ``1/N`` beside several
            of them comes out in front.
    """
    if not terms:
        return S.Zero
    terms = _scalars_added(terms)
    if len(terms) == 1:
        return _with_means(terms[0]).expr()
    parts = [_with_means(t) for t in terms]
    sizes = _shared_sizes(parts, results)
    if not sizes:
        return _grouped(parts)
    for part in parts:
        part.multiply(sizes, -1)
    return Mul(*(s**e for s, e in sizes.items()), _grouped(parts))


class _Part:
    """A term as an exact coefficient, outer factors, and finished sums."""

    def __init__(self, coefficient: Expr, outer: dict[Expr, Expr], sums: list[Expr]) -> None:
        self.coefficient = coefficient
        self.outer = outer
        self.sums = sums

    def multiply(self, factors: dict[Expr, Expr], power: int) -> None:
        for atom, exponent in factors.items():
            self.outer[atom] = self.outer.get(atom, S.Zero) + power * exponent
            if self.outer[atom] == 0:
                del self.outer[atom]

    def expr(self) -> Expr:
        return Mul(self.coefficient, *(a**e for a, e in self.outer.items()), *self.sums)


def _scalars_added(terms: Terms) -> Terms:
    """Add up the scalar factors of terms that are alike otherwise: ``s·p + (1 - s)·p`` is ``p``."""
    groups: dict[frozenset[tuple[Expr, Expr]], list[tuple[Expr, Term]]] = {}
    for term in terms:
        scalars = [(a, e) for a, e in term.factors if not names(a) and not free_indices(a)]
        rest = Term(S.One, tuple(f for f in term.factors if f not in scalars), term.bound)
        scalar = Mul(term.coefficient, *(a**e for a, e in scalars))
        groups.setdefault(canonical(rest), []).append((scalar, rest))
    result: list[Term] = []
    for members in groups.values():
        rest = members[0][1]
        total = sympy.expand(Add(*(s for s, _ in members))) if len(members) > 1 else members[0][0]
        if len(members) > 1 and len(Add.make_args(total)) < len(members):
            if total != 0:
                number, scalar = total.as_coeff_Mul()
                result.append(Term.of(number, (*rest.factors, *_powers(scalar)), rest.bound))
            continue
        for scalar, own in members:
            number, left = scalar.as_coeff_Mul()
            result.append(Term.of(number, (*own.factors, *_powers(left)), own.bound))
    return tuple(result)


def _powers(expr: Expr) -> list[tuple[Expr, Expr]]:
    return [f.as_base_exp() if isinstance(f, Pow) else (f, S.One) for f in Mul.make_args(expr)]


def _under_their_masks(factors: dict[Expr, Expr]) -> dict[Expr, Expr]:
    """``softmax[j](where(m, s, -inf))·where(m, a, 0)`` as ``where(m, softmax·a, 0)``.

    In a row that is masked altogether the softmax is undefined; what the mask
    drops is 0 all the same.
    """
    for softmax in [a for a, e in factors.items() if isinstance(a, Softmax) and e == 1]:
        body = substitute(softmax.body, dict(zip(softmax.indices, softmax.at, strict=True)))
        if not isinstance(body, Where):
            continue
        for mask in [a for a, e in factors.items() if isinstance(a, Where) and e == 1]:
            if mask.args[0] == body.args[0] and S.Zero in mask.args[1:]:
                kept = {a: e for a, e in factors.items() if a not in (softmax, mask)}
                branches = (b if b == 0 else softmax * b for b in mask.args[1:])
                return {**kept, Where(mask.args[0], *branches): S.One}
    return factors


def _with_means(term: Term) -> _Part:
    """Turn ``1/N · Σ_n`` into a mean where the count is exactly there."""
    outer_list, groups = components(term)
    outer: dict[Expr, Expr] = {}
    coefficient: Expr = term.coefficient
    for atom, exponent in outer_list:
        short = _polished(atom)
        number, rest = short.as_coeff_Mul() if short is not atom else (S.One, short)
        coefficient = coefficient * number**exponent
        for base, power in _powers(rest) if short is not atom else ((rest, S.One),):
            outer[base] = outer.get(base, S.Zero) + power * exponent
    outer = {a: e for a, e in outer.items() if e != 0}
    sums: list[Expr] = []
    outer = _under_their_masks(outer)
    for factors, bound in groups:
        body = Mul(*(a**e for a, e in _under_their_masks(dict(factors)).items()))
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
    parts = _conditions_merged(parts)
    if len(parts) == 1:
        return parts[0].expr()
    front = _front(parts)
    for part in parts:
        part.multiply(front, -1)
    for shared in _shared_sums(parts):
        for part in parts:
            part.sums.remove(shared)
        front[shared] = S.One
    number = _content([p.coefficient for p in parts])
    for part in parts:
        part.coefficient = part.coefficient / number
    inner = _polished(_horner(parts))
    return Mul(number, *(a**e for a, e in front.items()), inner)


def _front(parts: list[_Part]) -> dict[Expr, Expr]:
    """The outer factors that all parts share."""
    front: dict[Expr, Expr] = {}
    for atom in parts[0].outer:
        exponents = [p.outer.get(atom, S.Zero) for p in parts]
        common = _common_exponent(exponents)
        if common is not None:
            front[atom] = common
    return front


def _common_exponent(exponents: Sequence[Expr]) -> Expr | None:
    """What all have: the exponent nearest to 0 where the signs agree, or one that is the same everywhere."""
    if all(e == exponents[0] for e in exponents):
        return exponents[0] if exponents[0] != 0 else None
    if all(e.is_Rational and e > 0 for e in exponents):
        return min(exponents)
    if all(e.is_Rational and e < 0 for e in exponents):
        return max(exponents)
    return None


def _shared_sizes(parts: list[_Part], results: Container[str]) -> dict[Expr, Expr]:
    """Sizes that several known sums are divided by, beside terms that are not: ``γ·rstd/N·(N·dy - dbeta - …)``."""
    found: dict[Expr, Expr] = {}
    for atom in dict.fromkeys(a for p in parts for a in p.outer):
        if not isinstance(atom, Size):
            continue
        exponents = [p.outer.get(atom, S.Zero) for p in parts]
        divided = [p for p, e in zip(parts, exponents, strict=True) if e.is_negative]
        known = all(any(isinstance(a, Element) and a.name in results for a in p.outer) for p in divided)
        if 1 < len(divided) < len(parts) and known:
            found[atom] = min(exponents)
    return found


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


def _conditions_merged(parts: list[_Part]) -> list[_Part]:
    """``where(c, 1, 0)·a + where(c, 0, s)·b`` is ``where(c, a, s·b)``: one branch each, one pass."""
    groups: dict[Expr, list[tuple[_Part, Where]]] = {}
    for part in parts:
        masks = [a for a, e in part.outer.items() if isinstance(a, Where) and e == 1 and S.Zero in a.args[1:]]
        if len(masks) == 1:
            groups.setdefault(masks[0].args[0], []).append((part, masks[0]))
    merged = list(parts)
    for condition, group in groups.items():
        if len(group) < 2:
            continue
        shared = _front([part for part, _ in group])
        branches: list[list[Expr]] = [[], []]
        for part, mask in group:
            rest = {a: e for a, e in part.outer.items() if a != mask and a not in shared}
            rest |= {a: part.outer[a] - e for a, e in shared.items() if a != mask and part.outer[a] != e}
            for side, value in enumerate(mask.args[1:]):
                if value != 0:
                    branches[side].append(_Part(part.coefficient * value, rest, part.sums).expr())
        shared = {a: e for a, e in shared.items() if all(a != mask for _, mask in group)}
        whole: Expr = Where(condition, _polished(Add(*branches[0])), _polished(Add(*branches[1])))
        merged = [p for p in merged if not any(p is g for g, _ in group)]
        if isinstance(whole, Where):
            shared[whole] = S.One
            merged.append(_Part(S.One, shared, []))
        else:
            merged.append(_Part(S.One, shared, [whole]))
    return merged


@lru_cache(maxsize=4096)
def _polished(expr: Expr) -> Expr:
    """Expand, where that is cheaper: ``(1 - t)·σ(z) - t·σ(-z)`` is ``σ(z) - t``.

    Tried are expansion with ``σ(-z) = 1 - σ(z)`` and ``sign(x)·x = |x|``, and
    cancelling over the common denominator.
    """
    if not isinstance(expr, Add) or not _may_cancel(expr) or len(expr.args) > 8:
        return expr
    best = expr
    for candidate in _candidates(expr):
        if _price(candidate) < _price(best):
            best = candidate
    return best


def _may_cancel(expr: Add) -> bool:
    """Whether some product has a sum as a factor: nothing else can change by expansion."""
    for term in expr.args:
        for factor in Mul.make_args(term):
            base = factor.base if isinstance(factor, Pow) else factor
            if isinstance(base, Add):
                return True
    return False


def _candidates(expr: Expr) -> Iterator[Expr]:
    masked: dict[Expr, Expr] = {}

    def plain(e: Expr) -> Expr:
        """A polynomial in dummies: what is no arithmetic becomes one symbol each."""
        if isinstance(e, (Add, Mul)):
            return e.func(*(plain(a) for a in e.args))
        if isinstance(e, Pow) and e.exp.is_Integer:
            return Pow(plain(e.base), e.exp)
        if isinstance(e, Sigmoid) and e.args[0].could_extract_minus_sign():
            return 1 - plain(Sigmoid(-e.args[0]))
        if isinstance(e, Sign):
            x = e.args[0]
            return plain(sympy.Abs(x)) / plain(x)
        if e.is_Rational:
            return e
        if e not in masked:
            masked[e] = sympy.Dummy(f"v{len(masked)}", real=True)
        return masked[e]

    polynomial = plain(expr)
    if len(masked) > 8:
        return
    back = {v: k for k, v in masked.items()}
    yield sympy.expand(polynomial).xreplace(back)
    if any(isinstance(f.base, Add) and f.exp.is_negative and names(f) for f in expr.atoms(Pow)):
        yield _signs_settled(sympy.factor(polynomial)).xreplace(back)


def _signs_settled(expr: Expr) -> Expr:
    """``-(p - t)/((p - 1)·p)`` is ``(p - t)/((1 - p)·p)``."""
    number, rest = expr.as_coeff_Mul()
    if not number.is_negative:
        return expr
    factors = list(Mul.make_args(rest))
    for k, factor in enumerate(factors):
        base, exponent = factor.as_base_exp()
        if isinstance(base, Add) and exponent.is_odd and base.as_coeff_Add()[0].is_negative:
            factors[k] = (-base) ** exponent
            return Mul(-number, *factors)
    return expr


def _price(expr: Expr) -> float:
    """How long a formula is, a function counting four; signs are free."""
    if not expr.args or isinstance(expr, (Element, Padded, Delta)):
        return 0.0
    inner = sum(_price(a) for a in expr.args)
    if isinstance(expr, (Add, Mul)):
        return inner + len([a for a in expr.args if a != -1]) - 1
    if isinstance(expr, Pow):
        return inner + 1
    return inner + 4


def _horner(parts: list[_Part]) -> Expr:
    """Group the terms that share a factor, the largest group first."""
    if len(parts) < 3:
        return Add(*(p.expr() for p in parts))
    counts: dict[Expr, int] = {}
    for part in parts:
        if any(isinstance(a, Delta) for a in part.outer):
            continue  # it lands on its own places: sharing a factor with others saves nothing
        for atom, exponent in part.outer.items():
            if exponent.is_positive and names(atom) and isinstance(atom, Element):
                counts[atom] = counts.get(atom, 0) + 1
    best = max(counts, key=lambda a: (counts[a], _weight(a), -list(counts).index(a)), default=None)
    if best is None or counts[best] < 2:
        return Add(*(p.expr() for p in parts))
    inside = [
        p for p in parts if p.outer.get(best, S.Zero).is_positive and not any(isinstance(a, Delta) for a in p.outer)
    ]
    outside = [p for p in parts if not any(p is q for q in inside)]
    group = _grouped(inside)
    if not outside:
        return group
    rest = _horner(outside) if len(outside) > 1 else outside[0].expr()
    return Add(group, rest)
