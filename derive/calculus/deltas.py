"""``where(i == p*s + r, a, 0)`` inside a sum is ``δ(i, p*s + r)·a``: a transposed window.

A user writes a transposed convolution, a pixel shuffle or an upsampling by the
place that each input goes to. As a Kronecker delta it is what the gradient of
the opposite window is, and it is computed in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sympy import Add, Expr, Integer, Mul, S

from derive.algebra.functions import And, Eq, Where
from derive.algebra.indices import free_indices, is_binder, names, rebuild, substitute
from derive.algebra.nodes import Delta, Element, Index, Size, Sum
from derive.algebra.places import is_proved
from derive.language.layer import Statement

__all__ = ["with_deltas"]


def with_deltas(statements: Sequence[Statement]) -> tuple[Statement, ...]:
    """Return the statements with such conditions as deltas; the very same objects where there are none."""
    result = []
    for statement in statements:
        expr = _visit(statement.expr) if statement.kind.differentiable else statement.expr
        result.append(statement if expr is statement.expr else replace(statement, expr=expr))
    return tuple(result)


def _visit(expr: Expr) -> Expr:
    if not expr.args or isinstance(expr, Element):
        return expr
    if isinstance(expr, Sum):
        body = _visit(expr.body)
        factors: list[Expr] = []
        deltas: list[Expr] = []
        for factor in Mul.make_args(body):
            found = _split(factor, frozenset(expr.indices))
            factors.append(factor if found is None else found[0])
            deltas += () if found is None else found[1]
        if not deltas:
            return rebuild(expr, (body, *expr.indices))
        return _resolved(Mul(*factors), deltas, list(expr.indices))
    if is_binder(expr):
        return rebuild(expr, (_visit(expr.args[0]), *expr.args[1:]))
    return rebuild(expr, map(_visit, expr.args))


def _split(factor: Expr, bound: frozenset[Index]) -> tuple[Expr, list[Expr]] | None:
    """``where(i == f and rest, a, 0)`` as ``where(rest, a, 0)`` and the deltas; None where there are none."""
    if isinstance(factor, Where) and factor.args[2] == 0:
        condition, value = factor.args[0], factor.args[1]
    elif isinstance(factor, (Eq, And)):
        condition, value = factor, S.One
    else:
        return None
    deltas: list[Expr] = []
    others: list[Expr] = []
    for part in _conjuncts(condition):
        if isinstance(part, Eq) and all(map(_is_place, part.args)) and free_indices(part) & bound:
            deltas.append(Delta(*part.args))
        else:
            others.append(part)
    if not deltas:
        return None
    rest: Expr | None = None
    for part in others:
        rest = part if rest is None else And(rest, part)
    inner = None if value is S.One else _split(value, bound)
    if inner is not None:
        value, deltas = inner[0], [*deltas, *inner[1]]
    return (value if rest is None else Where(rest, value, S.Zero)), deltas


def _conjuncts(condition: Expr) -> list[Expr]:
    if isinstance(condition, And):
        return [c for a in condition.args for c in _conjuncts(a)]
    return [condition]


def _is_place(expr: Expr) -> bool:
    """Whether an expression is an integer made of indices, sizes and constants alone."""
    if names(expr):
        return False
    return bool(expr.is_integer) and all(
        isinstance(a, (Index, Size, Integer)) or a.is_integer for a in Add.make_args(expr)
    )


def _resolved(body: Expr, deltas: Sequence[Expr], bound: list[Index]) -> Expr:
    """The sum, with the letters that another letter of the same range, or a place in it, equals read as that."""
    left: list[Expr] = []
    for k, delta in enumerate(deltas):
        pair = next(
            (
                (a, b)
                for a, b in (delta.args, delta.args[::-1])
                if a in bound and (is_proved(a, b) or (isinstance(b, Index) and a.size == b.size))
            ),
            None,
        )
        if pair is None:
            left.append(delta)
            continue
        mapping: dict[Expr, Expr] = {pair[0]: pair[1]}
        rest = [substitute(d, mapping) for d in (*left, *deltas[k + 1 :])]
        return _resolved(substitute(body, mapping), rest, [i for i in bound if i != pair[0]])
    whole = Mul(body, *left)
    return Sum(whole, *bound) if bound else whole
