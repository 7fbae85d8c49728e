"""What a network computes twice by equal formulas is computed once.

    h[n, o] = sum[i](x[n, i]*w[i, o]) + b[o]
    g[n, o] = sum[i](x[n, i]*w[i, o]) + b[o]

The second is the first: who reads ``g`` reads ``h``. A network that calls two
blocks which begin with the same layer on the same tensors has such formulas.
A result of the network stays, as a copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sympy import Expr

from derive.algebra.indices import names, replace_elements, substitute
from derive.algebra.letters import readable
from derive.algebra.nodes import Element, Padded, Tensor
from derive.calculus.program import Stage, Step
from derive.language.layer import Layer, Statement

__all__ = ["reading", "without_repeats"]


def without_repeats(layer: Layer) -> tuple[Layer, tuple[Step, ...]]:
    """Return the layer without statements that repeat an earlier one, and a step for each."""
    seen: dict[object, list[Statement]] = {}
    same: dict[str, str] = {}
    kept: list[Statement] = []
    steps: list[Step] = []
    for written in layer.statements:
        statement = reading(written, same)
        first = _first(statement, seen)
        if first is None:
            kept.append(statement)
            continue
        same[statement.name] = first.name
        place = Element(first.tensor, *statement.indices)
        steps.append(Step(Stage.REWRITE, statement.target, place, f"{first.name} has the same formula"))
        if statement.name in layer.returns:
            kept.append(replace(statement, expr=place))
    return (replace(layer, statements=tuple(kept)), tuple(steps)) if steps else (layer, ())


def _first(statement: Statement, seen: dict[object, list[Statement]]) -> Statement | None:
    """Return the earlier statement with the same formula, or note this one."""
    if statement.carry is not None or isinstance(statement.expr, (Element, Padded)) or not names(statement.expr):
        return None
    alike = seen.setdefault((statement.kind, statement.axes, names(statement.expr)), [])
    for other in alike:
        letters = dict(zip(statement.indices, other.indices, strict=True))
        moved = substitute(statement.expr, letters)
        if readable(moved, other.indices) == readable(other.expr, other.indices):
            return other
    alike.append(statement)
    return None


def reading(statement: Statement, renamed: Mapping[str, str]) -> Statement:
    """Return the statement with the tensors that it reads under other names."""

    def other(element: Element) -> Expr | None:
        if element.name not in renamed:
            return None
        subscripts = (replace_elements(s, other) for s in element.subscripts)
        return Element(Tensor(renamed[element.name], element.kind), *subscripts)

    if not renamed:
        return statement
    carry = statement.carry
    if carry is not None:
        carry = replace(carry, start=replace_elements(carry.start, other))
    return replace(statement, expr=replace_elements(statement.expr, other), carry=carry)
