"""Axes in order: which order to compute in, and how to bring an array to it.

Every statement, and every body of a reduction, has one order of its indices. A
value inside it is *placed*: its axes are the last ones of the order, with units
where it lacks an index, so that NumPy's trailing broadcasting aligns any two.
With the order ``(n, d)``, ``mu[d]`` is placed as it is, ``r[n]`` as ``r[:, None]``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from sympy import Expr

from derive.algebra.indices import free_indices
from derive.algebra.nodes import BATCH, Element, Index, KeepingReduction, Reduction
from derive.lower.arrays import Array, Axis, Expand, Helper, Number, Read, Reduce, Rows, TakeAlong, Transpose

__all__ = ["join", "natural_order", "place", "rows", "transposed"]


def place(array: Array, order: Sequence[Axis]) -> Array:
    """Bring an array to the order: transposed if it must be, with units where it lacks an index.

    Args:
        array: its axes are distinct indices, all of them in ``order``.
        order: the axes of the context; None stands for an axis of length 1.
    """
    present = array.indices
    assert set(present) <= set(order), f"lower: {array} does not fit {order}"
    array = transposed(array, [axis for axis in order if axis in present])
    wanted: list[Axis] = [axis if axis in present else None for axis in order]
    while wanted and wanted[0] is None:
        del wanted[0]
    return _with_units(array, tuple(wanted), len(order))


def _with_units(array: Array, wanted: tuple[Axis, ...], room: int) -> Array:
    """Put units in; ``room`` is the number of axes around, so many units may come first as well."""
    if isinstance(array, Read):
        return replace(array, axes=wanted, room=room)
    if array.axes == wanted:
        return array
    if isinstance(array, (Reduce, Helper)) and not array.keep:
        full = tuple(None if axis in array.over else axis for axis in array.args[0].axes)
        kept = full
        while kept and kept[0] is None:
            kept = kept[1:]
        if kept == wanted and len(full) <= room:
            return replace(array, axes=full, keep=True)
    if isinstance(array, TakeAlong) and not array.keep:
        kept = array.args[1].axes
        if kept == wanted:
            return replace(array, axes=kept, keep=True)
    return Expand(wanted, array.dtype, (array,))


def transposed(array: Array, order: Sequence[Index]) -> Array:
    """Return the array (without units) with its axes in this order."""
    wanted = tuple(order)
    if array.indices == wanted:
        return array
    assert None not in array.axes, f"lower: {array} has units"
    if isinstance(array, Transpose):
        return transposed(array.args[0], order)
    return Transpose(wanted, array.dtype, (array,))


def join(arrays: Iterable[Array]) -> tuple[Axis, ...]:
    """Return the axes of placed arrays broadcast together."""
    result: tuple[Axis, ...] = ()
    for array in arrays:
        if isinstance(array, Number):
            continue
        a, b = result, array.axes
        length = max(len(a), len(b))
        a, b = (None,) * (length - len(a)) + a, (None,) * (length - len(b)) + b
        result = tuple(p if p is not None else q for p, q in zip(a, b, strict=True))
    return result


def natural_order(exprs: Iterable[Expr], outer: Sequence[Axis] = ()) -> tuple[Index, ...]:
    """Return the free indices of the expressions in the order that needs the fewest transposes.

    Every tensor read votes for the order of its own axes, with its rank; ties
    fall to ``outer``, then to first appearance. ``BATCH`` comes first.
    """
    exprs = tuple(exprs)
    wanted: set[Index] = set()
    hints: list[tuple[Index, ...]] = []
    for expr in exprs:
        free = free_indices(expr)
        wanted |= free
        hints += [kept for hint in _hints(expr) if (kept := tuple(i for i in hint if i in free))]
    votes: dict[tuple[Index, Index], int] = {}
    appearance: dict[Index, int] = {}
    for hint in hints:
        for k, first in enumerate(hint):
            appearance.setdefault(first, len(appearance))
            for second in hint[k + 1 :]:
                votes[first, second] = votes.get((first, second), 0) + len(hint)
    places = {axis: k for k, axis in enumerate(outer)}

    def rank(index: Index) -> tuple[bool, int, int, str]:
        return (index != BATCH, places.get(index, len(places)), appearance.get(index, len(appearance)), index.name)

    left = sorted(wanted, key=rank)
    order: list[Index] = []
    while left:
        free_now = [
            i for i in left
            if i == BATCH or all(votes.get((j, i), 0) <= votes.get((i, j), 0) for j in left if j != i)
        ]  # fmt: skip
        chosen = (free_now or left)[0]
        order.append(chosen)
        left.remove(chosen)
    return tuple(order)


def _hints(expr: Expr) -> list[tuple[Index, ...]]:
    """Return the axes of every tensor read, in order, outermost reads first."""
    if isinstance(expr, Element):
        own: list[Index] = []
        for subscript in expr.subscripts:
            if isinstance(subscript, Index):
                own.append(subscript)
            else:
                own += natural_order([subscript])
        return [tuple(dict.fromkeys(own))]
    if isinstance(expr, Index):
        return [(expr,)]
    if isinstance(expr, (Reduction, KeepingReduction)):
        inner = _hints(expr.body)
        if isinstance(expr, KeepingReduction):
            for at in expr.at:
                inner += _hints(at)
        return inner
    return [hint for arg in expr.args for hint in _hints(arg)]


def rows(array: Array, axis: int, letter: Index, first: int) -> Array:
    """Return the rows ``first``, … of an axis, as many as ``letter`` runs over."""
    over = array.axes[axis]
    assert over is not None
    axes = (*array.axes[:axis], letter, *array.axes[axis + 1 :])
    return Rows(axes, array.dtype, (array,), over=over, first=first, last=int(over.size - first - letter.size))
