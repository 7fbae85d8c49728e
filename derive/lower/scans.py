"""Recurrences that need no loop: running sums, products and extremes.

    c[-1] = 0; c[t] = c[t-1] + a[t]               c = np.cumsum(a, axis=0)
    c[T] = 0;  c[t] = c[t+1] + a[t]               c = np.cumsum(a[::-1], axis=0)[::-1]
    c[-1] = s; c[t] = c[t-1]*a[t]                 c = s * np.cumprod(a, axis=0)
    c[-1] = -inf; c[t] = maximum(c[t-1], a[t])    c = np.maximum.accumulate(a, axis=0)

Such a recurrence is the only one of its loop, and reads its earlier element
once, as it is; a decay ``g*c[t-1] + a[t]`` is a loop. What else the loop
computes is computed afterwards, for all steps at once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import sympy
from sympy import Add, Expr, Integer, Mul, S

from derive.algebra.functions import LogAddExp, Maximum, Minimum
from derive.algebra.indices import free_indices, names, replace_elements, substitute
from derive.algebra.nodes import Element, Index
from derive.language.layer import Statement
from derive.language.loops import Loop, is_earlier
from derive.lower.arrays import Accumulate, Array, Axis, Dtype, Span, Take
from derive.lower.layout import natural_order

if TYPE_CHECKING:
    from derive.lower.expressions import Expressions

__all__ = ["Accumulated", "accumulated", "scanned"]

_SPELLINGS: dict[str, str] = {
    "sum": "np.cumsum", "prod": "np.cumprod", "max": "np.maximum.accumulate", "min": "np.minimum.accumulate",
    "logsumexp": "np.logaddexp.accumulate",
}  # fmt: skip
_NEUTRAL: dict[str, Expr] = {
    "sum": S.Zero, "prod": S.One, "max": S.NegativeInfinity, "min": S.Infinity, "logsumexp": S.NegativeInfinity,
}  # fmt: skip


# What takes more statements than this is none of these.
_MOST = 4


class Accumulated(Expr):
    """``op`` of ``body`` over all steps up to this one; ``args = (body, index, step, op)``."""

    is_commutative = True

    def __new__(cls, body: Expr, index: Index, step: int, op: sympy.Symbol) -> Accumulated:
        return Expr.__new__(cls, body, index, Integer(step), op)

    def _sympystr(self, printer: object) -> str:
        return f"accumulated({', '.join(map(str, self.args))})"


def scanned(loop: Loop) -> list[Statement] | None:
    """Return the loop's statements without a loop, the first with the recurrence's start; None where it needs one."""
    recurrences = [s for s in loop.statements if s.carry is not None]
    if len(recurrences) > 1 or len(loop.statements) > _MOST:
        return None
    (statement,) = recurrences
    carry = statement.carry
    assert carry is not None
    others = {s.name: s for s in loop.statements if s is not statement}

    def inlined(element: Element) -> Expr | None:
        other = others.get(element.name)
        if other is None:
            return None
        return substitute(other.expr, dict(zip(other.indices, element.subscripts, strict=True)))

    expr = statement.expr
    while names(expr) & others.keys():
        expr = replace_elements(expr, inlined)
    found = _operation(replace(statement, expr=expr))
    if found is None:
        return None
    op, body = found
    if carry.index not in free_indices(body):
        return None
    running = Accumulated(body, carry.index, carry.step, sympy.Symbol(op))
    whole = _with_start(op, carry.start, running)
    return None if whole is None else [replace(statement, expr=whole), *others.values()]


def _operation(statement: Statement) -> tuple[str, Expr] | None:
    """Return the operation and what it is applied to at every step."""
    expr = statement.expr
    own = Element(statement.tensor, *(i - _step(statement, i) for i in statement.indices))
    assert is_earlier(own, statement)
    found: tuple[str, Expr] | None = None
    if isinstance(expr, Add) and own in expr.args:
        found = ("sum", expr - own)
    elif isinstance(expr, LogAddExp) and own in expr.args:
        found = ("logsumexp", expr.args[0] if expr.args[1] == own else expr.args[1])
    elif isinstance(expr, Mul) and own in expr.args:
        found = ("prod", expr / own)
    elif isinstance(expr, (Maximum, Minimum)) and own in expr.args and len(expr.args) == 2:
        (other,) = (a for a in expr.args if a != own) if expr.args[0] != expr.args[1] else (own,)
        found = ("max" if isinstance(expr, Maximum) else "min", other)
    if found is None or statement.name in names(found[1]):
        return None
    return found


def _step(statement: Statement, index: Index) -> int:
    carry = statement.carry
    return carry.step if carry is not None and index == carry.index else 0


def _with_start(op: str, start: Expr, running: Expr) -> Expr | None:
    if start == _NEUTRAL[op]:
        return running
    if op == "sum":
        return start + running
    if op == "prod":
        return start * running
    if op == "logsumexp":
        return None
    return (Maximum if op == "max" else Minimum)(start, running)


def accumulated(lowerer: Expressions, expr: Accumulated, order: tuple[Axis, ...]) -> Array:
    """Return the running values, not placed yet."""
    body, index, step, op = expr.args
    inner = natural_order([body], order)
    array = lowerer.lower(body, inner)
    assert array.axes == inner, f"lower: axes of {expr}"
    turn = tuple(Span(step=S.NegativeOne) if i == index else None for i in inner)
    if step == -1:
        array = Take(inner, array.dtype, (array,), where=turn)
    dtype = Dtype.INT if array.dtype is Dtype.BOOL else array.dtype
    array = Accumulate(inner, dtype, (array,), spelling=_SPELLINGS[op.name], over=index)
    return Take(inner, array.dtype, (array,), where=turn) if step == -1 else array
