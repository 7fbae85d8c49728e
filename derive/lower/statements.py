"""One statement as instructions: usually one assignment."""

from __future__ import annotations

from collections.abc import Sequence

from derive.algebra.nodes import Index, KeepingReduction, Kind, LogSoftmax, Softmax
from derive.language.layer import Statement
from derive.lower.arrays import (
    Apply,
    Array,
    Assign,
    Axis,
    Binary,
    Broadcast,
    Copy,
    Dtype,
    Einsum,
    Expand,
    Fill,
    Guarded,
    InPlace,
    Instruction,
    Name,
    Number,
    Read,
    Reduce,
    Reshape,
    Take,
    Transpose,
    values,
    walk,
)
from derive.lower.expressions import Expressions, as_real
from derive.lower.prepare import is_staged
from derive.lower.scatter import has_delta, scatter

__all__ = ["lower_statement", "owned"]


def lower_statement(
    lowerer: Expressions, statement: Statement, order: Sequence[Axis], *, own: bool
) -> list[Instruction] | None:
    """Return the instructions that compute a statement.

    Args:
        lowerer: for the expressions.
        statement: prepared (see :mod:`derive.lower.prepare`).
        order: the statement's indices in order, with units where the array is stored with them.
        own: whether the array must be one that nobody else holds.

    Returns:
        None where ``order`` has units and the value can't be stored with them.
    """
    plain = tuple(order) == statement.indices
    if has_delta(statement.expr):
        if not plain:
            return None
        found = scatter(lowerer, statement)
        if found is not None:
            return _guarded(found)
    if isinstance(statement.expr, KeepingReduction):
        assert is_staged(statement.expr, statement.indices), f"lower: {statement}"
        return _guarded(_softmax(lowerer, statement.name, statement.expr, tuple(order)))
    if plain:
        return _guarded(owned(lowerer, statement, copy=own))
    value = _typed(lowerer.lower(statement.expr, order), statement.kind)
    if value.indices != statement.indices:
        return None
    return _guarded([Assign(statement.name, value)])


def owned(lowerer: Expressions, statement: Statement, *, copy: bool = True) -> list[Instruction]:
    """Return one assignment of the value in its full shape; with ``copy``, as an array of its own."""
    indices = statement.indices
    value = _typed(lowerer.lower(statement.expr, indices), statement.kind)
    if isinstance(value, Number):
        if indices or statement.kind.differentiable:
            value = Fill(indices, Dtype.REAL, value=value.value)
    elif value.axes != indices:
        value = Broadcast(indices, value.dtype, (value,))
    elif copy and _is_view(value):
        value = Copy(value.axes, value.dtype, (value,))
    return [Assign(statement.name, value)]


def _is_view(array: Array) -> bool:
    """Return whether NumPy gives a view of (or the very) array that was there before."""
    if isinstance(array, Read):
        return True
    if isinstance(array, (Take, Einsum)):
        return len(array.args) == 1
    return isinstance(array, (Expand, Transpose, Reshape)) and _is_view(array.args[0])


def _typed(array: Array, kind: Kind) -> Array:
    return as_real(array) if kind.differentiable else array


def _softmax(lowerer: Expressions, name: str, expr: KeepingReduction, order: tuple[Axis, ...]) -> list[Instruction]:
    """Return the numerically safe steps: the largest element is subtracted before exponentials are taken."""
    result: list[Instruction] = []
    z = as_real(lowerer.lower(expr.body, order))
    if not isinstance(z, Read):
        result.append(Assign(name, z))
        z = Name(z.axes, Dtype.REAL, name=name)
    own = Name(z.axes, Dtype.REAL, name=name)
    over = expr.indices
    shifted = Binary(z.axes, Dtype.REAL, (z, _kept("max", z, over)), op="-")
    if isinstance(expr, Softmax):
        exponentials = Apply(z.axes, Dtype.REAL, (shifted,), spelling="np.exp({0})")
        return [*result, Assign(name, exponentials), InPlace(name, "/", _kept("sum", own, over))]
    assert isinstance(expr, LogSoftmax), expr
    exponentials = Apply(z.axes, Dtype.REAL, (own,), spelling="np.exp({0})")
    total = _kept("sum", exponentials, over)
    logarithm = Apply(total.axes, Dtype.REAL, (total,), spelling="np.log({0})")
    return [*result, Assign(name, shifted), InPlace(name, "-", logarithm)]


def _kept(op: str, array: Array, over: tuple[Index, ...]) -> Array:
    axes = tuple(None if axis in over else axis for axis in array.axes)
    return Reduce(axes, Dtype.REAL, (array,), op=op, over=over, keep=True)


# What an operation may do where its value is not used: an overflow, a pole, no real value.
_RISKS: dict[str, tuple[str, ...]] = {
    "np.exp": ("over",), "np.expm1": ("over",), "np.sinh": ("over",), "np.cosh": ("over",),
    "np.log": ("divide", "invalid"), "np.log1p": ("divide", "invalid"), "np.sqrt": ("invalid",),
    "np.arcsin": ("invalid",), "np.arccos": ("invalid",), "/": ("divide", "invalid"),
    "**": ("divide", "over", "invalid"),
}  # fmt: skip


def _guarded(instructions: list[Instruction]) -> list[Instruction]:
    """Silence warnings of values that a ``where`` does not select, in the statements that have them."""
    result: list[Instruction] = []
    for instruction in instructions:
        risks = {
            risk
            for value in values(instruction)
            for node in walk(value)
            if isinstance(node, Apply) and node.spelling.startswith("np.where")
            for branch in node.args[1:]
            for part in walk(branch)
            for risk in _risks(part)
        }
        result.append(Guarded(tuple(sorted(risks)), (instruction,)) if risks else instruction)
    return result


def _risks(array: Array) -> tuple[str, ...]:
    if isinstance(array, Binary):
        if array.op == "/" and isinstance(array.args[1], Number):
            return ()
        return _RISKS.get(array.op, ())
    if isinstance(array, Apply):
        inner = array.args[0] if array.args else None
        if isinstance(inner, Binary) and inner.op in ("*", "/") and isinstance(inner.args[1], Number):
            inner = inner.args[0]
        if isinstance(inner, Binary) and inner.op == "*" and isinstance(inner.args[0], Number):
            inner = inner.args[1]
        if isinstance(inner, Apply) and inner.spelling.startswith(("np.minimum", "np.maximum", "np.where", "np.clip")):
            return ()  # kept inside its domain already
        return _RISKS.get(array.word(), ())
    return ()
