"""Branches that are not taken must not overflow: they are computed all the same.

    where(x > 0, x, expm1(x))          → where(x > 0, x, expm1(at_most(x, 0)))
    where(x > 0, log(x), 0)            → where(x > 0, log(guard(x > 0, x, 1)), 0)
    minimum(0, alpha*expm1(x))         → alpha*expm1(minimum(x, 0)), alpha > 0

``at_most(x, 0)`` is x where x <= 0, which is all that the branch is used for;
elsewhere it is a number that harms nobody, and an array operation that
evaluates both branches raises no warning and multiplies no infinity by 0 on
the way back. Only a condition that bounds the very argument is used: in
``where(mask, exp(x), 0)`` nothing is known of x, and nothing is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sympy import Abs, Add, Expr, Mul, Pow, S, acos, asin, cosh, digamma, exp, log, sinh

from derive.algebra.functions import (
    And,
    AtLeast,
    AtMost,
    Eq,
    Expm1,
    Ge,
    Gt,
    Guard,
    Le,
    Lgamma,
    Log1p,
    Lt,
    Minimum,
    Ne,
    Not,
    Or,
    Where,
)
from derive.algebra.indices import is_binder, names, rebuild
from derive.algebra.nodes import Element
from derive.stability.matching import factors, is_positive, terms
from derive.stability.rule import Rule, rule

__all__ = ["GUARDS"]

_GROWING = (exp, Expm1, sinh, cosh)
_NEGATED: dict[type[Expr], type[Expr]] = {Lt: Ge, Ge: Lt, Gt: Le, Le: Gt, Eq: Ne, Ne: Eq}


@dataclass(frozen=True, slots=True)
class _Fact:
    """What holds where a branch is taken: ``low <= high``, or (not ordered) that the two have been compared."""

    low: Expr
    high: Expr
    ordered: bool


@rule(Where)
def guarded_branches(e: Expr) -> Expr | None:
    """where(x > 0, x, expm1(x)) = where(x > 0, x, expm1(at_most(x, 0)))

    Why: both branches are computed, and the one that is not taken overflows or leaves its domain.
    Holds: every real x.
    """
    condition, a, b = e.args
    new_a = _guarded(a, _facts(condition), lambda x, fill: Guard(condition, x, fill))
    new_b = _guarded(b, _facts(_negation(condition)), lambda x, fill: Guard(condition, fill, x))
    return None if new_a is a and new_b is b else Where(condition, new_a, new_b)


@rule(Mul)
def guarded_product(e: Expr) -> Expr | None:
    """(x <= 0)*expm1(x) = where(x <= 0, expm1(at_most(x, 0)), 0)

    Why: 0*inf where the factor that the condition switches off overflows.
    Holds: every real x.
    """
    for condition in e.args:
        facts = _facts(condition)
        if not facts:
            continue
        rest = Mul(*(f for f in e.args if f is not condition))

        def guard(x: Expr, fill: Expr, condition: Expr = condition) -> Expr:
            return Guard(condition, x, fill)

        new = _guarded(rest, facts, guard)
        if new is not rest:
            return Where(condition, new, S.Zero)
    return None


def _negation(condition: Expr) -> Expr:
    if type(condition) in _NEGATED:
        return _NEGATED[type(condition)](*condition.args)
    if isinstance(condition, Not):
        return condition.args[0]
    if isinstance(condition, Or):
        return And(*map(_negation, condition.args))
    return Not(condition)


def _facts(condition: Expr) -> tuple[_Fact, ...]:
    if isinstance(condition, And):
        return tuple(f for a in condition.args for f in _facts(a))
    if isinstance(condition, Not) and not isinstance(negated := _negation(condition.args[0]), Not):
        return _facts(negated)
    if isinstance(condition, (Lt, Le)):
        return (_Fact(condition.args[0], condition.args[1], ordered=True),)
    if isinstance(condition, (Gt, Ge)):
        return (_Fact(condition.args[1], condition.args[0], ordered=True),)
    if isinstance(condition, (Eq, Ne)):
        return (_Fact(condition.args[0], condition.args[1], ordered=False),)
    return ()


def _guarded(expr: Expr, facts: tuple[_Fact, ...], guard: Callable[[Expr, Expr], Expr]) -> Expr:
    """Return ``expr`` with the arguments of its dangerous functions kept where the facts say they are."""
    if not facts or not expr.args or isinstance(expr, Element) or is_binder(expr):
        return expr
    new = rebuild(expr, (_guarded(a, facts, guard) for a in expr.args))
    if isinstance(new, _GROWING):
        clamped = _clamped(new.args[0], facts)
        return new if clamped is None else new.func(clamped)
    if isinstance(new, Pow) and new.exp.is_number and not (new.exp.is_Integer and new.exp.is_positive):
        return Pow(guard(new.base, S.One), new.exp) if _compared(new.base, facts) else new
    if isinstance(new, (log, Lgamma, digamma)) and _compared(new.args[0], facts):
        return new.func(guard(new.args[0], S.One))
    if isinstance(new, (Log1p, asin, acos)) and _compared(new.args[0], facts):
        return new.func(guard(new.args[0], S.Zero))
    return new


def _clamped(u: Expr, facts: tuple[_Fact, ...]) -> Expr | None:
    """The exponent ``u`` with what the facts bound from above kept below its bound, or None."""
    for fact in facts:
        if not fact.ordered:
            continue
        for v, bound, limited in ((fact.low, fact.high, AtMost), (fact.high, fact.low, AtLeast)):
            for slope, rest in _linear(u, v):
                wrong = slope.is_extended_negative if limited is AtMost else slope.is_extended_positive
                if not wrong and not names(slope * bound + rest):
                    return slope * limited(v, bound) + rest
    return None


def _linear(u: Expr, v: Expr) -> Iterator[tuple[Expr, Expr]]:
    """Yield ``(k, r)`` with ``u = k·v + r`` and no ``v`` in either."""
    if not names(v):
        return
    first = terms(v)[0]
    for term in terms(u):
        slope = term / first
        if slope.has(v) or names(slope):
            continue
        rest = Add(*(t for t in terms(u) if t is not term), *(-slope * t for t in terms(v)[1:]))
        if not rest.has(v) and len(terms(rest)) < len(terms(u)) + (rest == 0):
            yield slope, rest


def _compared(u: Expr, facts: tuple[_Fact, ...]) -> bool:
    """Whether a fact compares ``u`` (or what is a multiple of it, up to a constant) with something."""
    if not names(u):
        return False
    for fact in facts:
        for side in (fact.low, fact.high, fact.low - fact.high):
            if Abs(u) == side or any(not names(rest) for _, rest in _linear(u, side)):
                return True
    return False


@rule(Minimum)
def minimum_of_exponential(e: Expr) -> Expr | None:
    """minimum(a*expm1(x), 0) = a*expm1(minimum(a*x, 0)/a)

    Why: the exponential overflows where the minimum is 0, and the derivative becomes inf*0.
    Holds: a not 0: a*x and a*expm1(x) have the same sign.
    """
    if S.Zero not in e.args:
        return None
    other = next((a for a in e.args if a != 0), S.Zero)
    for factor in factors(other):
        if isinstance(factor, Expm1):
            scale = Mul(*(f for f in factors(other) if f is not factor))
            if names(scale):
                return None
            u = factor.args[0]
            if is_positive(scale):
                return scale * Expm1(_minimum(u))
            return scale * Expm1(_minimum(scale * u) / scale)
    return None


def _minimum(u: Expr) -> Expr:
    """``minimum(u, 0)``, a positive number being pulled out of it."""
    number, rest = u.as_coeff_Mul()
    return number * Minimum(rest, S.Zero) if number.is_positive else Minimum(u, S.Zero)


GUARDS: tuple[Rule, ...] = (guarded_branches, guarded_product, minimum_of_exponential)
