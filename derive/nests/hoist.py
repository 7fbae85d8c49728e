"""What an innermost loop need not compute again: quotients and functions of what does not change in it.

    for d: dz[n, d] = dloss*p[n, d]/N       dz_scale = dloss/N
                                            for d: dz[n, d] = dz_scale*p[n, d]

A compiler moves loads and calls out of a loop, but may not turn a division by
something fixed into a product, nor take the factors of a product in another
order: that rounds differently.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from sympy import Add, Expr, Mul, Pow

from derive.algebra.functions import FloorDiv, Mod, Where
from derive.algebra.indices import elements, free_indices, rebuild
from derive.algebra.nodes import Delta, Element, Index, Padded, Tensor
from derive.nests.nodes import Kind, Local, Node, Store
from derive.nests.pieces import Apart

__all__ = ["hoisted"]


def hoisted(
    index: Index, body: Sequence[Node], named: Callable[[str], str]
) -> tuple[tuple[Node, ...], list[Node]]:
    """Return the body of an innermost loop, and the variables that are computed before it.

    Args:
        index: of the loop.
        body: its stores and variables.
        named: gives a name of its own from a stem.
    """
    written = {node.name for node in body if isinstance(node, (Store, Local))}
    known: dict[Expr, Element] = {}
    before: list[Node] = []

    def fixed(expr: Expr) -> bool:
        return index not in free_indices(expr) and not any(e.name in written for e in elements(expr))

    def named_value(expr: Expr, stem: str) -> Expr:
        if expr not in known:
            name = named(stem)
            before.append(Local(name, Kind.REAL, expr))
            known[expr] = Element(Tensor(name))
        return known[expr]

    def visit(expr: Expr, stem: str) -> Expr:
        if not expr.args or isinstance(expr, (Element, Padded, Delta, FloorDiv, Mod)) or expr.is_number:
            return expr
        if fixed(expr):
            return named_value(expr, stem) if _is_dear(expr) and not expr.is_integer else expr
        if isinstance(expr, Where):  # a branch that is not taken may not be computable
            return expr if expr.has(Padded) else rebuild(expr, (expr.args[0], *(visit(a, stem) for a in expr.args[1:])))
        if isinstance(expr, Mul):
            still = [f for f in expr.args if fixed(f) and not f.is_number]
            numbers = [f for f in expr.args if f.is_number]
            if any(map(_is_dear, still)):
                scale = named_value(Mul(*numbers, *still), stem)
                rest = [f for f in expr.args if f not in still and not f.is_number]
                return scale * Mul(*(visit(f, stem) for f in rest))
        if isinstance(expr, Pow) and not expr.exp.is_number:
            return expr
        return rebuild(expr, (visit(a, stem) for a in expr.args))

    result: list[Node] = []
    for node in body:
        if isinstance(node, (Store, Local)) and node.kind is Kind.REAL:
            result.append(replace(node, value=visit(node.value, f"{node.name}_scale")))
        else:
            result.append(node)
    return tuple(result), before


def _is_dear(expr: Expr) -> bool:
    """Return whether a division, a root or a function stands in the expression."""
    if isinstance(expr, Element) or not expr.args:
        return False
    if isinstance(expr, Pow):
        return not (expr.exp.is_Integer and expr.exp > 0) or _is_dear(expr.base)
    if isinstance(expr, (Add, Mul, Apart)):
        return any(map(_is_dear, expr.args))
    return not isinstance(expr, (FloorDiv, Mod, Where))
