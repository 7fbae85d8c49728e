"""What a call is checked for before anything is computed: labels inside their axes, axes that must not be empty."""

from __future__ import annotations

from sympy import Expr

from derive.algebra.indices import elements
from derive.algebra.nodes import (
    ArgMax,
    Element,
    KeepingReduction,
    Kind,
    LogSumExp,
    Max,
    Mean,
    Min,
    Reduction,
    Std,
    Var,
)
from derive.algebra.text import show
from derive.calculus.program import Program
from derive.language.layer import Layer
from derive.lower.arrays import Labels
from derive.lower.scalars import is_number, sizes_in

__all__ = ["label_checks", "nonempty_sizes"]


def label_checks(layer: Layer, program: Program) -> tuple[Labels, ...]:
    """Return which integer tensors must lie inside which axes: those that are subscripts."""
    found: dict[tuple[str, Expr], Labels] = {}
    kinds = {p.name: p.kind for p in layer.parameters}
    for statement in (*layer.statements, *program.forward):
        for element in elements(statement.expr):
            owner = layer.parameter(element.name) or layer.statement(element.name) or program.definition(element.name)
            if owner is None:
                continue
            for subscript, size in zip(element.subscripts, owner.axes, strict=True):
                if isinstance(subscript, Element) and kinds.get(subscript.name) is Kind.INT:
                    found.setdefault((subscript.name, size), Labels(subscript.name, size))
    return tuple(found.values())


_UNDEFINED = (Mean, Max, Min, Var, Std, ArgMax, LogSumExp)


def nonempty_sizes(layer: Layer, program: Program) -> tuple[tuple[Expr, str], ...]:
    """Return the sizes that must not be 0: what is reduced by a mean or an extreme, divided by, or read at a place."""
    found: dict[Expr, str] = {}

    def visit(expr: Expr) -> None:
        if isinstance(expr, (*_UNDEFINED, KeepingReduction)):
            for index in expr.indices:
                found.setdefault(index.size, f"{expr.word}[{index.name}]")
        elif isinstance(expr, Reduction):
            pass
        elif expr.is_Pow and expr.exp.is_negative and is_number(expr.base):
            for size in sorted(sizes_in(expr.base), key=str):
                if expr.base.subs(size, 0).is_zero:
                    found.setdefault(size, f"a division by {show(expr.base)}")
        elif isinstance(expr, Element):
            owner = layer.parameter(expr.name) or layer.statement(expr.name) or program.definition(expr.name)
            if owner is not None:
                for subscript, size in zip(expr.subscripts, owner.axes, strict=True):
                    if is_number(subscript):
                        found.setdefault(size, show(expr))
        for arg in expr.args:
            visit(arg)

    for statement in (*layer.statements, *program.forward):
        visit(statement.expr)
    return tuple((size, why) for size, why in found.items() if not size.is_Integer)
