"""What several statements compute is computed once.

A second derivative reads the intermediate results of a backward pass, and its
own derivatives lead to some of them again: ``1 - h[t, j]**2`` of a tanh is the
factor of its cotangent and of that cotangent's. Where a statement holds a
value, whatever the letters, it is read by its name.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from sympy import Add, Expr

from derive.algebra.functions import BY_CLASS
from derive.algebra.indices import free_indices, is_binder, names, rebuild, replace_elements, substitute
from derive.algebra.nodes import Element
from derive.algebra.places import Axes, all_inside
from derive.algebra.terms import unify
from derive.language.layer import Statement

__all__ = ["without_repeats"]


def without_repeats(statements: Sequence[Statement], results: Collection[str], axes: Axes) -> tuple[Statement, ...]:
    """Return the statements with each value computed once; ``results`` keep their names.

    Args:
        statements: in an order of computation.
        results: the names that are returned.
        axes: of the tensors that they read, those of the statements themselves aside.
    """
    axes = {**axes, **{s.name: s.axes for s in statements}}
    known: list[Statement] = []
    same: dict[str, tuple[Statement, Element]] = {}

    def renamed(element: Element) -> Expr | None:
        if element.name not in same:
            return None
        gone, target = same[element.name]
        return substitute(target, dict(zip(gone.indices, element.subscripts, strict=True)))

    kept: list[Statement] = []
    for statement in statements:
        carry = statement.carry
        if carry is not None:
            carry = replace(carry, start=replace_elements(carry.start, renamed))
        expr = _read(replace_elements(statement.expr, renamed), known, axes)
        if expr is not statement.expr or carry is not statement.carry:
            statement = replace(statement, expr=expr, carry=carry)
        repeated = isinstance(expr, Element) and any(expr.name == k.name for k in known)
        if repeated and carry is None and statement.name not in results:
            same[statement.name] = statement, expr
            continue
        kept.append(statement)
        if carry is None and _is_worth_a_read(expr) and free_indices(expr) == frozenset(statement.indices):
            known.append(statement)
    return tuple(kept)


def _is_worth_a_read(expr: Expr) -> bool:
    """Whether computing a value anew costs more than reading it."""
    row = BY_CLASS.get(type(expr))
    return bool(names(expr)) and (isinstance(expr, Add) or is_binder(expr) or (row is not None and not row.infix))


def _read(expr: Expr, known: Sequence[Statement], axes: Axes) -> Expr:
    """Return the expression with known values read by their names, outermost first."""
    if not expr.args or isinstance(expr, Element):
        return expr
    for source in known:
        mapping: dict[Expr, Expr] = {}
        if type(expr) is not type(source.expr) or not unify(source.expr, expr, mapping, frozenset(source.indices)):
            continue
        if all_inside(mapping, [source.expr], axes):
            return substitute(source.target, mapping)
    return rebuild(expr, (_read(a, known, axes) for a in expr.args))
