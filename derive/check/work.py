"""How much work a layer is: about how many scalar operations an evaluation element by element takes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache

from sympy import Expr

from derive.algebra.indices import free_indices
from derive.algebra.nodes import Element, Index, KeepingReduction, Reduction, Sum
from derive.check.instance import Instance
from derive.check.ranges import solved
from derive.language.layer import Layer, Statement

__all__ = ["WORK", "expressions", "spreads", "work"]

WORK = 12_000  # scalar operations of one forward pass, about 20 ms in multiprecision


def expressions(statement: Statement) -> tuple[Expr, ...]:
    """Return what a statement computes: its right side, and its start where it is a recurrence."""
    return (statement.expr,) if statement.carry is None else (statement.expr, statement.carry.start)


def work(layer: Layer, instance: Instance) -> int:
    """Return about how many scalar operations the layer's forward pass takes, element by element."""
    extents: dict[Expr, int] = {}
    total = 0
    for sizes, times in spreads(layer.statements).items():
        for size in sizes:
            if size not in extents:
                extents[size] = instance.extent(size)
        total += times * math.prod(extents[size] for size in sizes)
    return total


@lru_cache(maxsize=256)
def spreads(statements: tuple[Statement, ...]) -> Mapping[tuple[Expr, ...], int]:
    """Return for each operation the sizes of the indices over which it is repeated, and how many have the same."""
    found: Counter[tuple[Expr, ...]] = Counter()
    for statement in statements:
        found[tuple(sorted((i.size for i in statement.indices), key=str))] += 1  # each element is put in its place
        seen = {pair for expr in expressions(statement) for pair in _operations(expr, frozenset())}
        for _, indices in seen:
            found[tuple(sorted((i.size for i in indices), key=str))] += 1
    return found


def _operations(expr: Expr, given: frozenset[Index]) -> Iterator[tuple[Expr, frozenset[Index]]]:
    """Yield each operation with its indices; those in ``given`` are solved for, and do not run."""
    if isinstance(expr, (Reduction, KeepingReduction)):
        running = free_indices(expr.body) | {*expr.indices}
        inner = given | (solved(expr) if isinstance(expr, Sum) else frozenset())
        yield expr, running - inner
        yield from _operations(expr.body, inner)
        return
    if expr.args and not isinstance(expr, Element):
        yield expr, free_indices(expr) - given
    for arg in expr.args:
        yield from _operations(arg, given)
