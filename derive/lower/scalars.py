"""Which expressions are Python numbers: sizes, hyper-parameters and constants, no array."""

from __future__ import annotations

from functools import lru_cache

from sympy import Expr

from derive.algebra.nodes import Delta, Element, Index, KeepingReduction, Reduction, Size

__all__ = ["is_number", "is_whole", "sizes_in"]


@lru_cache(maxsize=65536)
def is_number(expr: Expr) -> bool:
    """Return whether no tensor and no index occurs in ``expr``."""
    if isinstance(expr, (Element, Index, Reduction, KeepingReduction, Delta)):
        return False
    return all(is_number(arg) for arg in expr.args)


def is_whole(expr: Expr) -> bool:
    """Return whether Python computes ``expr`` as an ``int`` (or ``bool``)."""
    return bool(expr.is_integer)


@lru_cache(maxsize=65536)
def sizes_in(expr: Expr) -> frozenset[Size]:
    """Return the sizes that occur in ``expr`` as numbers."""
    if isinstance(expr, Size):
        return frozenset((expr,))
    if isinstance(expr, Index):
        return frozenset()
    if not expr.args:
        return frozenset()
    return frozenset().union(*map(sizes_in, expr.args))
