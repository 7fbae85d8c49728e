"""Deviations from a mean, exact where the mean is large.

    xc = x - mu                                      # mu is rounded: at 1e4 by 5e-4 in float32
    xc -= xc.mean(axis=-1, keepdims=True)            # what that has left in all of them

The difference of a number and a mean close to it is exact, but the mean was
rounded, and what it was rounded by is in every difference. Their own mean is
just that: of exact arithmetic it would be 0, and here it is small, so that it
is known to all its digits.

Source: Chan, Golub & LeVeque, "Algorithms for Computing the Sample Variance", 1983 (the corrected two-pass algorithm).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sympy import Add, Expr, Mul

from derive.algebra.indices import free_indices, substitute
from derive.algebra.nodes import Element, Index, Mean, Sum
from derive.language.layer import Statement
from derive.stability.matching import same

__all__ = ["centred"]


def centred(statements: Iterable[Statement]) -> dict[str, tuple[Index, ...]]:
    """Return the names whose statement is a difference ``x - mean(x)``, each with the indices of the mean."""
    known: dict[str, Statement] = {}
    found: dict[str, tuple[Index, ...]] = {}
    for statement in statements:
        over = _over(statement, known)
        if over:
            found[statement.name] = over
        known[statement.name] = statement
    return found


def _over(statement: Statement, known: Mapping[str, Statement]) -> tuple[Index, ...]:
    """The indices over which the statement's mean is 0 because it is a deviation from it; () where it is none."""
    if statement.carry is not None or not isinstance(statement.expr, Add) or len(statement.expr.args) != 2:
        return ()
    for value, other in (statement.expr.args, statement.expr.args[::-1]):
        mean = -other
        if not (isinstance(value, Element) and isinstance(mean, Element) and mean.name in known):
            continue
        definition = known[mean.name]
        if definition.carry is not None:
            continue
        written = substitute(definition.expr, dict(zip(definition.indices, mean.subscripts, strict=True)))
        over = tuple(i for i in statement.indices if i in free_indices(value) - free_indices(mean))
        letters = {i: Index(f"{i.name}'", i.size) for i in over}
        if over and same(_as_mean(written), Mean(substitute(value, letters), *letters.values())):
            return over
    return ()


def _as_mean(expr: Expr) -> Expr:
    """``sum[n](x)/N`` as ``mean[n](x)``; anything else as it is."""
    for factor in Mul.make_args(expr):
        if isinstance(factor, Sum) and Mul(expr / factor, factor.count) == 1:
            return Mean(*factor.args)
    return expr
