"""One statement as instructions: usually one assignment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from sympy import Integer, Mul

from derive.algebra.functions import Ne, Where
from derive.algebra.nodes import Index, KeepingReduction, Kind, LogSoftmax, Padded, Reduction, SafeSoftmax, Softmax
from derive.language.layer import Statement
from derive.lower.arrays import (
    Apply,
    Array,
    Assign,
    Axis,
    Binary,
    Broadcast,
    Copy,
    Delete,
    Dtype,
    Einsum,
    Expand,
    Fill,
    Guarded,
    InPlace,
    Instruction,
    Name,
    Number,
    Pad,
    Read,
    Reduce,
    Regroup,
    Reshape,
    Take,
    Transpose,
    Windows,
    values,
    walk,
)
from derive.lower.expressions import Expressions, as_real, is_truth, number
from derive.lower.offsets import over_offsets
from derive.lower.prepare import is_staged
from derive.lower.scalars import is_number
from derive.lower.scatter import has_delta, scatter
from derive.lower.unwindow import unwindow
from derive.lower.windows import padded_array

__all__ = ["lower_statement", "once", "owned"]


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
    lowerer.before = []
    code = _code(lowerer, statement, order, own=own)
    if code is None:
        return None
    before = _needed(lowerer.before, code)
    return [*before, *code, *(Delete(a.name) for a in before if a.name in lowerer.large)]


def _needed(before: Sequence[Assign], code: Sequence[Instruction]) -> list[Assign]:
    """Return those of the first assignments that the others, or the code, read."""
    read = {node.name for i in code for v in values(i) for node in walk(v) if isinstance(node, Name)}
    result: list[Assign] = []
    for assignment in reversed(before):
        if assignment.name in read:
            read |= {node.name for node in walk(assignment.value) if isinstance(node, Name)}
            result.insert(0, assignment)
    return result


def once(code: Sequence[Instruction]) -> list[Instruction]:
    """Return the instructions without assignments of what the name holds already, as of a view that several read."""
    held: dict[str, Array] = {}
    result: list[Instruction] = []
    for instruction in code:
        if isinstance(instruction, Assign) and held.get(instruction.name) == instruction.value:
            continue
        if isinstance(instruction, Assign):
            held[instruction.name] = instruction.value
        elif isinstance(instruction, Delete):
            held.pop(instruction.name, None)
        result.append(instruction)
    return result


def _code(
    lowerer: Expressions, statement: Statement, order: Sequence[Axis], *, own: bool
) -> list[Instruction] | None:
    plain = tuple(order) == statement.indices
    if has_delta(statement.expr):
        if not plain:
            return None
        found = unwindow(lowerer, statement, lambda rest: _code(lowerer, rest, order, own=True) or [])
        found = found or _chosen_scatter(lowerer, statement) or scatter(lowerer, statement)
        if found is not None:
            return _guarded(_apart(found) if own or len(found) > 1 else found, lowerer.nonpositive)
    if isinstance(statement.expr, Padded):
        if None in order:
            return None  # an array is padded as it is
        padded: list[Instruction] = [Assign(statement.name, padded_array(lowerer, statement))]
        return _apart(padded) if own else padded
    if isinstance(statement.expr, KeepingReduction):
        assert is_staged(statement.expr, statement.indices), f"lower: {statement}"
        steps = _softmax(lowerer, statement.name, statement.expr, tuple(order))
        if statement.name in lowerer.masked:  # -inf less -inf in a row that the mask drops
            return [*steps[:-2], Guarded(("invalid",), tuple(steps[-2:]))]
        return _guarded(steps, lowerer.nonpositive)
    if isinstance(statement.expr, (Reduction, Mul)):
        looped = over_offsets(lowerer, statement)
        if looped is not None:
            return _guarded(looped, lowerer.nonpositive) if plain else None
    if statement.name in lowerer.centred:
        return _centred(lowerer, statement, tuple(order))
    if plain:
        return _guarded(owned(lowerer, statement, copy=own), lowerer.nonpositive)
    value = _typed(lowerer.lower(statement.expr, order), statement.kind)
    if value.indices != statement.indices:
        return None
    return _guarded([Assign(statement.name, value)], lowerer.nonpositive)


def _centred(lowerer: Expressions, statement: Statement, order: tuple[Axis, ...]) -> list[Instruction] | None:
    """Return the deviations from a mean, less what its rounding has left in them (:mod:`derive.lower.centred`)."""
    value = as_real(lowerer.lower(statement.expr, order))
    if value.indices != statement.indices:
        return None
    left = _kept("mean", Name(value.axes, Dtype.REAL, name=statement.name), lowerer.centred[statement.name])
    return [Assign(statement.name, value), InPlace(statement.name, "-", left)]


def _apart(code: list[Instruction]) -> list[Instruction]:
    """Return the instructions with a copy where the array that they make first would be a view."""
    match code:
        case [Assign(name=name, value=value), *rest] if _is_view(value):
            return [Assign(name, Copy(value.axes, value.dtype, (value,))), *rest]
    return code


def _chosen_scatter(lowerer: Expressions, statement: Statement) -> list[Instruction] | None:
    """Return ``where(c, p - delta, 0)`` as a scatter of the first branch, and then the choice."""
    expr = statement.expr
    if not isinstance(expr, Where) or has_delta(expr.args[0]):
        return None
    for branch, other in (expr.args[1:], expr.args[:0:-1]):
        if has_delta(branch) and is_number(other):
            found = scatter(lowerer, replace(statement, expr=branch))
            if found is None:
                return None
            condition = lowerer.lower(
                Ne(expr.args[0], 0) if not is_truth(expr.args[0]) else expr.args[0], statement.indices
            )
            own = Name(statement.indices, Dtype.REAL, name=statement.name)
            rest = Number((), Dtype.NUMBER, value=other)
            args = (condition, own, rest) if branch is expr.args[1] else (condition, rest, own)
            choice = Apply(statement.indices, Dtype.REAL, args, spelling="np.where({0}, {1}, {2})")
            quiet = [_quiet(i, lowerer.nonpositive, values(i)) for i in found]
            return [*quiet, Assign(statement.name, choice)]
    return None


def owned(lowerer: Expressions, statement: Statement, *, copy: bool = True) -> list[Instruction]:
    """Return one assignment of the value in its full shape; with ``copy``, as an array of its own."""
    indices = statement.indices
    value = _typed(lowerer.lower(statement.expr, indices), statement.kind)
    if isinstance(value, Number):
        if indices or statement.kind.differentiable:
            value = Fill(indices, Dtype.REAL, value=value.value)
    elif value.axes != indices:
        value = Broadcast(indices, value.dtype, (value,))
    elif copy and isinstance(value, Read) and value.name in lowerer.spare:
        lowerer.spare.remove(value.name)
        lowerer.handed.add(value.name)
    elif copy and _is_view(value):
        value = Copy(value.axes, value.dtype, (value,))
    return [Assign(statement.name, value)]


def _is_view(array: Array) -> bool:
    """Return whether NumPy gives a view of (or the very) array that was there before."""
    if isinstance(array, Read):
        return True
    if isinstance(array, Take):
        return len(array.args) == 1 and _is_view(array.args[0])
    if isinstance(array, Einsum):
        return len(array.args) == 1
    return isinstance(array, (Expand, Transpose, Reshape, Regroup, Windows, Pad)) and _is_view(array.args[0])


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
    top, total = _kept("max", z, over), _kept("sum", own, over)
    if isinstance(expr, SafeSoftmax):
        # Where all are -inf, exp(-inf + 1e30) is 0, and so is their sum; where not, the largest adds 1 to it.
        top, total = _at_least(top, Integer(-(10**30))), _at_least(total, Integer(1))
    shifted = Binary(z.axes, Dtype.REAL, (z, top), op="-")
    if isinstance(expr, Softmax):
        exponentials = Apply(z.axes, Dtype.REAL, (shifted,), spelling="np.exp({0})")
        return [*result, Assign(name, exponentials), InPlace(name, "/", total)]
    assert isinstance(expr, LogSoftmax), expr
    exponentials = Apply(z.axes, Dtype.REAL, (own,), spelling="np.exp({0})")
    total = _kept("sum", exponentials, over)
    logarithm = Apply(total.axes, Dtype.REAL, (total,), spelling="np.log({0})")
    return [*result, Assign(name, shifted), InPlace(name, "-", logarithm)]


def _at_least(array: Array, bound: Integer) -> Array:
    return Apply(array.axes, Dtype.REAL, (array, number(bound)), spelling="np.maximum({0}, {1})")


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


def _guarded(instructions: list[Instruction], nonpositive: frozenset[str]) -> list[Instruction]:
    """Silence warnings of values that a ``where`` does not select, in the statements that have them."""
    result: list[Instruction] = []
    for instruction in instructions:
        branches = [
            branch
            for value in values(instruction)
            for node in walk(value)
            if isinstance(node, Apply) and node.spelling.startswith("np.where")
            for branch in node.args[1:]
        ]
        result.append(_quiet(instruction, nonpositive, branches))
    return result


def _quiet(instruction: Instruction, nonpositive: frozenset[str], unused: Iterable[Array]) -> Instruction:
    """Silence the warnings that computing ``unused`` may give."""
    if isinstance(instruction, Guarded):
        return instruction
    risks = {risk for array in unused for part in walk(array) for risk in _risks(part, nonpositive)}
    return Guarded(tuple(sorted(risks)), (instruction,)) if risks else instruction


def _risks(array: Array, nonpositive: frozenset[str]) -> tuple[str, ...]:
    if isinstance(array, Binary):
        if array.op == "/" and isinstance(array.args[1], Number):
            return ()
        return _RISKS.get(array.op, ())
    if isinstance(array, Apply):
        inner = array.args[0] if array.args else None
        if isinstance(inner, Read) and inner.name in nonpositive and array.word() in ("np.exp", "np.expm1"):
            return ()
        if isinstance(inner, Binary) and inner.op in ("*", "/") and isinstance(inner.args[1], Number):
            inner = inner.args[0]
        if isinstance(inner, Binary) and inner.op == "*" and isinstance(inner.args[0], Number):
            inner = inner.args[1]
        if isinstance(inner, Apply) and inner.spelling.startswith(("np.minimum", "np.maximum", "np.where", "np.clip")):
            return ()  # kept inside its domain already
        return _RISKS.get(array.word(), ())
    return ()
