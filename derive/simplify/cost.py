"""What a list of statements costs: passes over arrays and products of matrices.

A pass touches as many elements as the indices of an operation span, an unknown
size counting as ``TYPICAL``. A reduction that appears twice is computed once.
The figures only have to rank a closed form against its staged form.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import mul

from sympy import Add, Expr, Mul, Pow

from derive.algebra.functions import BY_CLASS
from derive.algebra.indices import free_indices
from derive.algebra.nodes import Delta, Element, Index, KeepingReduction, Padded, Reduction
from derive.language.layer import Statement

__all__ = ["cost"]

TYPICAL = 64.0
_FUNCTION = 4.0
"""A transcendental function, in passes of a multiplication."""
_CONTRACTION = 0.25
"""A multiply-add of a matrix product, in passes of an elementwise multiplication."""


def _volume(indices: Iterable[Index]) -> float:
    return reduce(mul, (float(i.size) if i.size.is_Integer else TYPICAL for i in indices), 1.0)


def cost(statements: Iterable[Statement]) -> float:
    """Return the cost of computing the statements, in elements touched."""
    total = 0.0
    for statement in statements:
        seen: set[Expr] = set()
        total += _cost(statement.expr, seen)
        if isinstance(statement.expr, Element):
            total += _volume(statement.indices)
    return total


def _cost(expr: Expr, seen: set[Expr]) -> float:
    if not expr.args or isinstance(expr, (Element, Padded, Delta)):
        return 0.0
    if isinstance(expr, (Reduction, KeepingReduction)):
        if expr in seen:
            return 0.0
        seen.add(expr)
        span = _volume(free_indices(expr.body) | frozenset(expr.indices))
        factors = [f for f in Mul.make_args(expr.body) if free_indices(f)]
        sets = [free_indices(f) for f in factors]
        crossed = any(a - b and b - a for k, a in enumerate(sets) for b in sets[k + 1 :])
        inner = sum(_cost(f, seen) for f in factors)
        if crossed:
            return inner + _CONTRACTION * (len(factors) - 1) * span
        return inner + (len(factors) + (2 * _FUNCTION if isinstance(expr, KeepingReduction) else 0)) * span
    own = sum(_cost(a, seen) for a in expr.args)
    if isinstance(expr, (Add, Mul)):
        # Operands are taken smallest first: scalars and small arrays cost little together.
        # A sign costs nothing: it makes a subtraction of an addition.
        operands = sorted((free_indices(a) for a in expr.args if a != -1), key=_volume)
        gathered = operands[0]
        for operand in operands[1:]:
            gathered |= operand
            own += _volume(gathered)
        return own
    touched = _volume(free_indices(expr))
    if isinstance(expr, Pow):
        return own + touched
    row = BY_CLASS.get(type(expr))
    return own + touched * (1.0 if row is not None and row.infix else _FUNCTION)
