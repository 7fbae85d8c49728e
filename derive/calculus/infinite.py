"""Which values of a layer may be infinite: what a mask, the border of a window or a start puts there.

    alpha[-1, s] = where(s == 0, 0, -inf)
    alpha[t, s]  = x[t, s] + logsumexp[r: 2](padded(alpha, -inf)[t - 1, s - r])

Every ``alpha`` may be -inf: a state that can't be reached. What a layer is given
is finite, and what overflows is none of this.

A derivative that is a quotient or a step of a difference (the softmax under a
logsumexp, the step under a maximum) is undefined where both sides are the same
infinity; it is then written in a form that is 0, or a half each, there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sympy import Abs, Add, Expr, Mul, Pow, S, exp, log

from derive.algebra.functions import (
    Guard,
    LogAddExp,
    LogSigmoid,
    Maximum,
    Minimum,
    Relu,
    Softplus,
    StopGradient,
    Where,
)
from derive.algebra.nodes import Element, LogSoftmax, LogSumExp, Max, Mean, Min, Norm, Padded, Sum
from derive.language.layer import Statement

__all__ = ["Infinities", "infinities", "may_vanish", "signs"]

Infinities = Mapping[str, frozenset[int]]
"""For every name the signs, 1 and -1, of the infinities that its values may be; none for what is not here."""

_NONE: frozenset[int] = frozenset()
_PLUS, _MINUS = frozenset((1,)), frozenset((-1,))


def infinities(statements: Sequence[Statement]) -> Infinities:
    """Return which infinities the values of statements may be."""
    found: dict[str, frozenset[int]] = {}
    while True:
        before = dict(found)
        for statement in statements:
            here = signs(statement.expr, found)
            if statement.carry is not None:
                here |= signs(statement.carry.start, found)
            if here:
                found[statement.name] = found.get(statement.name, _NONE) | here
        if found == before:
            return found


def signs(expr: Expr, known: Infinities) -> frozenset[int]:
    """Return the signs of the infinities that the value of an expression may be."""
    if isinstance(expr, Element):
        return known.get(expr.name, _NONE)
    if isinstance(expr, Padded):
        return signs(expr.element, known) | signs(expr.fill, known)
    if expr in (S.Infinity, S.NegativeInfinity):
        return _PLUS if expr is S.Infinity else _MINUS
    if not expr.args:
        return _NONE
    if isinstance(expr, (Add, StopGradient, Max, Min, Sum, Mean, Where, Guard)):
        parts = {Where: expr.args[1:], Guard: expr.args[1:], Add: expr.args}.get(type(expr), expr.args[:1])
        return _union(signs(a, known) for a in parts)
    if isinstance(expr, Mul):
        return _of_product(expr, known)
    if isinstance(expr, (Maximum, Minimum, LogAddExp)):
        first, second = (signs(a, known) for a in expr.args)
        easy = _MINUS if isinstance(expr, Minimum) else _PLUS  # one argument is enough
        return (first & second) | ((first | second) & easy)
    inner = signs(expr.args[0], known)
    if isinstance(expr, (Softplus, Relu, exp, log)):
        return inner & _PLUS
    if isinstance(expr, LogSigmoid):
        return inner & _MINUS
    if isinstance(expr, (LogSumExp, LogSoftmax)):
        return inner
    if isinstance(expr, (Abs, Norm)) or (isinstance(expr, Pow) and expr.exp.is_positive and expr.exp.is_even):
        return _PLUS if inner else _NONE
    return inner if isinstance(expr, Pow) and expr.exp.is_positive else _NONE


def _union(parts: Iterable[frozenset[int]]) -> frozenset[int]:
    return _NONE.union(*parts)


def _of_product(expr: Mul, known: Infinities) -> frozenset[int]:
    found = _union(signs(a, known) for a in expr.args)
    if not found:
        return _NONE
    rest = [a for a in expr.args if not signs(a, known)]
    if all(a.is_extended_positive for a in rest) and len(rest) == len(expr.args) - 1:
        return found
    if all(a.is_extended_positive or a.is_extended_negative for a in rest) and len(rest) == len(expr.args) - 1:
        odd = sum(1 for a in rest if a.is_extended_negative) % 2
        return frozenset(-s for s in found) if odd else found
    return _PLUS | _MINUS


def may_vanish(body: Expr, known: Infinities) -> bool:
    """Return whether all terms ``body`` may be -inf at once.

    Not where the body is ``where(m, a, -inf)`` with a finite ``a``: what passes the mask is dropped by the same
    mask on the way back.
    """
    return -1 in signs(_under_masks(body), known)


def _under_masks(body: Expr) -> Expr:
    """``a`` of ``where(m, a, -inf)``."""
    if isinstance(body, Where) and S.NegativeInfinity in body.args[1:]:
        return _under_masks(next((a for a in body.args[1:] if a is not S.NegativeInfinity), S.Zero))
    return body
