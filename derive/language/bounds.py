"""Proofs that an integer expression of sizes and hyper-parameters is not negative.

A read ``x[p*stride + r]`` with ``P = (H - R)//stride + 1`` stays inside because

    (P - 1)*stride + R - 1 <= H - 1

and that follows from what ``//`` means, ``q*stride <= H - R`` for the quotient
q. Every proof is such a sum of facts with positive factors, all exact:

- a size is at least 1 (an axis that a read names has an element);
- ``q = a//b`` lies between ``(a - b + 1)/b`` and ``a/b``, ``a % b`` from 0 to ``b - 1``;
- what the generated code verifies (:class:`~derive.language.layer.Condition`): a divisor is at least 1, and
  so on;
- the product of two facts.

First ``//`` is replaced by its bounds where it stands multiplied by its
divisor, which settles windows; what is left is a small linear program, whose
solution is verified in exact arithmetic. What can't be proved so is refused:
``False`` says nothing about the expression.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations_with_replacement

from sympy import Add, Expr, Integer, Mul, Pow, Rational, S

from derive.algebra.functions import FloorDiv, Mod
from derive.algebra.nodes import Size

__all__ = ["Bounds"]

_MAX_FACTS = 14


class Bounds:
    """What is known of sizes and hyper-parameters.

    Attributes:
        assumed: expressions that are not negative, by a condition that the code verifies.
    """

    def __init__(self) -> None:
        self.assumed: list[Expr] = []

    def assume(self, expr: Expr) -> None:
        """Take as known that an expression is not negative."""
        self.assumed.append(expr.expand())

    def at_least(self, expr: Expr, bound: int | Expr = 0) -> bool:
        """Return whether an expression is at least ``bound`` for certain."""
        rest = (expr - bound).expand()
        return self.plainly(rest) or (not rest.is_number and self._combined(rest))

    def plainly(self, expr: Expr) -> bool:
        """Return whether an expression is not negative for a reason that one sees; a quick test."""
        expr = expr.expand()
        return expr in self.assumed or self._simple(expr)

    # By substitution

    def _simple(self, expr: Expr) -> bool:
        """Replace each quotient by its bound and each symbol by its least value plus something."""
        if expr.is_number:
            return bool(expr >= 0)
        for quotient in _outermost(expr):
            bounded = self._without(expr, quotient)
            if bounded is not None:
                return self._simple(bounded)
        shifted = expr
        for symbol, least in self._least(expr).items():
            shifted = shifted.xreplace({symbol: symbol + least})
        shifted = shifted.expand()
        if _outermost(shifted):
            return False
        known = self._least(expr)
        return all(
            factor >= 0 and all(_base(s) in known for s in Mul.make_args(rest) if s is not S.One)
            for factor, rest in (term.as_coeff_Mul() for term in Add.make_args(shifted))
        )

    def _without(self, expr: Expr, quotient: Expr) -> Expr | None:
        """Return a lower bound without ``k*b*(a//b)``; None where the quotient stands otherwise."""
        if not isinstance(quotient, FloorDiv):
            return None
        above, below = quotient.args
        inside, factor = expr.as_independent(quotient, as_Add=True)
        factor = (factor / quotient).expand()
        times = (factor / below).cancel()
        if factor.is_Rational and factor > 0 and self._positive(below) and self._simple(above.expand()):
            return inside if not times.is_Rational else (inside + times * (above - below + 1)).expand()
        if not times.is_Rational or factor.has(quotient) or not self._positive(below):
            return None
        return (inside + times * (above if times < 0 else above - below + 1)).expand()

    def _least(self, expr: Expr) -> dict[Expr, Expr]:
        """Return the least value of each symbol that has one."""
        found: dict[Expr, Expr] = {s: S.One for s in expr.free_symbols if isinstance(s, Size)}
        for known in self.assumed:
            constant, rest = known.as_coeff_Add()
            if rest.is_Symbol and rest in expr.free_symbols:
                found[rest] = max(found.get(rest, -constant), -constant)
        return found

    def _positive(self, divisor: Expr) -> bool:
        return self.plainly(divisor - 1)

    # By a combination of facts

    def _combined(self, expr: Expr) -> bool:
        facts = list(dict.fromkeys(self._facts(expr)))[:_MAX_FACTS]
        if _combination(expr, facts):
            return True
        products = [(a * b).expand() for a, b in combinations_with_replacement(facts, 2)]
        return _combination(expr, list(dict.fromkeys(facts + products)))

    def _facts(self, expr: Expr) -> Iterator[Expr]:
        """Return what is known of the parts of an expression, each at least 0."""
        work = [expr]
        seen: set[Expr] = set()
        while work:
            part = work.pop(0)
            for atom in _atoms(part):
                if atom in seen:
                    continue
                seen.add(atom)
                if isinstance(atom, Size):
                    yield atom - 1
                elif isinstance(atom, FloorDiv) and self._positive(atom.args[1]):
                    above, below = atom.args
                    yield (above - below * atom).expand()
                    yield (below * atom + below - 1 - above).expand()
                    if self._simple(above.expand()):
                        yield atom
                    work += [above, below]
                elif isinstance(atom, Mod) and self._positive(atom.args[1]):
                    above, below = atom.args
                    quotient = FloorDiv(above, below)
                    yield atom
                    yield below - 1 - atom
                    yield (above - below * quotient - atom).expand()
                    yield (atom - above + below * quotient).expand()
                    work += [above, below, quotient]
            for known in self.assumed:
                if known not in seen and known.free_symbols & part.free_symbols:
                    seen.add(known)
                    yield known
                    work.append(known)


def _base(factor: Expr) -> Expr:
    if isinstance(factor, Pow) and factor.exp.is_Integer and factor.exp > 0:
        return factor.base
    return factor


def _atoms(expr: Expr) -> Iterator[Expr]:
    """Return the symbols and quotients of which an expression is a polynomial."""
    if isinstance(expr, (Add, Mul, Pow)):
        for arg in expr.args:
            yield from _atoms(arg)
    elif not expr.is_number:
        yield expr


def _outermost(expr: Expr) -> list[Expr]:
    """Return the quotients of an expression that stand inside no other."""
    return list(dict.fromkeys(atom for atom in _atoms(expr) if isinstance(atom, (FloorDiv, Mod))))


def _combination(expr: Expr, facts: Sequence[Expr]) -> bool:
    """Return whether an expression is a sum of facts, each at least 0, with positive factors and a constant."""
    from scipy.optimize import linprog

    given = [*facts, S.One]
    rows: dict[Expr, list[float]] = {}
    for column, fact in enumerate(given):
        for monomial, factor in fact.as_coefficients_dict().items():
            rows.setdefault(monomial, [0.0] * len(given))[column] = float(factor)
    wanted = expr.as_coefficients_dict()
    if not wanted.keys() <= rows.keys():
        return False
    solution = linprog(
        [1.0] * len(given), A_eq=list(rows.values()), b_eq=[float(wanted.get(monomial, 0)) for monomial in rows]
    )
    if solution.status != 0:
        return False
    factors = [Fraction(value).limit_denominator(1000) for value in solution.x]
    total = Add(*(Rational(f.numerator, f.denominator) * fact for f, fact in zip(factors, given, strict=True) if f))
    return all(f >= 0 for f in factors) and bool((expr - total).expand() == Integer(0))
