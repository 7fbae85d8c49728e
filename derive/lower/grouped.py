"""Contractions of windows as one matrix product: axes are brought together, merged, multiplied.

    sum[c, r, s](w[f, c, r, s]*x[n, c, p + r, q + s])

        x_columns = x_windows.transpose(0, 1, 4, 5, 2, 3).reshape(N, C * R * S, P * Q)
        y = (w.reshape(F, C * R * S) @ x_columns).reshape(N, F, P, Q)

The columns are a copy of the windows, which are a view; it is what the product
costs in memory, and it is deleted after the statement. Positions come last in
it, because they are neighbours in memory: a copy in any other order takes
several times as long. ``einsum`` over the view would copy both operands and
give a result whose axes are in another order in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sympy import Mul

from derive.algebra.indices import fresh
from derive.algebra.nodes import BATCH, Index
from derive.lower.arrays import Array, Axis, Contract, Dtype, Expand, Regroup, Transpose
from derive.lower.layout import transposed

if TYPE_CHECKING:
    from derive.lower.expressions import Expressions

__all__ = ["grouped"]

Letters = tuple[Index, ...]


def grouped(lowerer: Expressions, a: Array, b: Array, bound: Sequence[Index], order: Sequence[Axis]) -> Array | None:
    """Return the contraction of two arrays over ``bound`` as ``(… @ …).reshape(…)``, or None where it is none.

    The result's axes stand as in ``order``: the last ones that one array alone
    has are the columns, those of the other before them the rows, the rest are
    axes of a stack of matrices.
    """
    places = {axis: k for k, axis in enumerate(order)}
    inside = {i: None for i in (*a.indices, *b.indices) if i not in bound}
    result = sorted(inside, key=lambda i: (i != BATCH, places.get(i, len(places))))
    only = {i: 0 if i not in b.indices else 1 if i not in a.indices else None for i in result}
    if not result or only[result[-1]] is None:
        return None
    right = only[result[-1]]
    arrays = (b, a) if right == 0 else (a, b)
    owners = {i: None if o is None else int(o == right) for i, o in only.items()}  # 0: rows', 1: columns'
    split = _split(result, owners)
    if split is None:
        return None
    stack, rows, columns = split
    left, right_array = arrays
    inner = _inner(left, right_array, bound, lowerer)
    if BATCH in rows or BATCH in columns or (BATCH in inner and inner[0] != BATCH):
        return None
    if BATCH in inner and not (_moves(left, inner) and _moves(right_array, inner)):
        return None
    first = _matrix(lowerer, left, tuple(i for i in stack if i in left.indices), rows, inner)
    second = _matrix(lowerer, right_array, tuple(i for i in stack if i in right_array.indices), inner, columns)
    first, second = _stacked(first, stack, left), _stacked(second, stack, right_array)
    one_row, one_column = _merged("rows", rows), _merged("columns", columns)
    product: Array = Contract((*stack, one_row, one_column), Dtype.REAL, (first, second))
    whole = (*stack, *rows, *columns)
    return product if product.axes == whole else Regroup(whole, Dtype.REAL, (product,))


def _split(result: Sequence[Index], owners: dict[Index, int | None]) -> tuple[Letters, Letters, Letters] | None:
    """Divide the axes of the result into those of the stack, the rows and the columns, in this order."""
    at = len(result)
    while at and owners[result[at - 1]] == 1 and result[at - 1] != BATCH:
        at -= 1
    columns = tuple(result[at:])
    end = at
    while at and owners[result[at - 1]] == 0 and result[at - 1] != BATCH:
        at -= 1
    rows = tuple(result[at:end])
    return (tuple(result[:at]), rows, columns) if rows and columns else None


def _moves(array: Array, inner: Letters) -> bool:
    """Return whether the inner axes can come first, as they must where batch axes are among them."""
    return array.indices[: len(inner)] == inner or BATCH in array.indices


def _inner(left: Array, right: Array, bound: Sequence[Index], lowerer: Expressions) -> Letters:
    """Return the contracted axes in the order of the array that is not copied anyway."""
    kept = right if lowerer.is_window(left) and not lowerer.is_window(right) else left
    return tuple(i for i in kept.indices if i in bound)


def _merged(name: str, letters: Letters) -> Index:
    return letters[0] if len(letters) == 1 else Index(name, Mul(*(i.size for i in letters)))


def _matrix(lowerer: Expressions, array: Array, stack: Letters, first: Letters, second: Letters) -> Array:
    """Return a stack of matrices with merged axes; stored the other way round and transposed where that is less work.

    Args:
        lowerer: for the name of a copy of windows.
        array: all its axes are among the following.
        stack: the axes of the stack.
        first: the axes that are the rows of the matrices.
        second: those that are their columns.
    """
    stored = array.args[0].indices if isinstance(array, Transpose) else array.indices
    late = [i for i in stored if i not in lowerer.window_letters(array)]
    swapped = BATCH not in first and late[-1] in first
    if BATCH in second:
        swapped = True
    before, after = (second, first) if swapped else (first, second)
    merged = _reshaped(lowerer, transposed(array, (*stack, *before, *after)), stack, (before, after))
    if not swapped:
        return merged
    axes = (*merged.indices[:-2], merged.indices[-1], merged.indices[-2])
    return Transpose(axes, merged.dtype, (merged,))


def _reshaped(lowerer: Expressions, array: Array, stack: Letters, groups: tuple[Letters, Letters]) -> Array:
    axes: list[Index] = list(stack)
    for letters in groups:
        axes.append(fresh(_merged("rows", letters), axes))
    if tuple(axes) == array.indices:
        return array
    merged = Regroup(tuple(axes), array.dtype, (array,))
    name = lowerer.window_name(array)
    return merged if name is None else lowerer.local(name.removesuffix("_windows") + "_columns", merged, large=True)


def _stacked(matrix: Array, stack: Letters, source: Array) -> Array:
    """Put units in for axes of the stack that the matrices lack, behind the first that they have."""
    own = [i for i in stack if i in source.indices]
    if not own:
        return matrix
    wanted: list[Axis] = [i if i in own else None for i in stack[stack.index(own[0]) :]]
    axes = (*wanted, *matrix.axes[-2:])
    return matrix if axes == matrix.axes else Expand(axes, matrix.dtype, (matrix,))

