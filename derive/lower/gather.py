"""Reads whose subscripts are not distinct indices: gathers, constants, diagonals.

    z[n, t[n]]      z[np.arange(N), t]
    w[t[...], d]    w[t]
    x[0, d]         x[0]
    x[i, i]         np.einsum("ii->i", x)
    z[..., t[...]]  np.take_along_axis(z, t[..., None], axis=-1)[..., 0]

In general, every axis whose subscript is computed, and every axis whose index
occurs in such a subscript, is read through an integer array; the arrays are
broadcast against each other, the other axes are taken whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sympy import Expr, S

from derive.algebra.functions import And, Eq, Where
from derive.algebra.indices import free_indices, fresh
from derive.algebra.nodes import BATCH, Element, Index, Sum
from derive.lower.arrays import Array, Axis, Dtype, Einsum, Entry, Read, Span, Take, TakeAlong
from derive.lower.layout import natural_order, place, rows, transposed
from derive.lower.scalars import is_number
from derive.lower.windows import Opened, opened

if TYPE_CHECKING:
    from derive.lower.expressions import Expressions

__all__ = ["Places", "element", "places"]

# What stands at each axis (see arrays.Take), the integer arrays, the axes of the result.
Places = tuple[tuple[Entry, ...], tuple[Array, ...], tuple[Index, ...]]


def element(lowerer: Expressions, expr: Element, order: Sequence[Axis]) -> Array:
    """Return a tensor's elements, placed in ``order``."""
    subscripts, dtype = expr.subscripts, Dtype.of(expr.kind)
    if expr.name in lowerer.timed:
        found_rows = _rows(lowerer, expr, lowerer.timed[expr.name])
        if found_rows is not None:
            return place(found_rows, order)
    sizes = lowerer.shapes[expr.name]
    if all(isinstance(s, Index) and lowerer.ranges.is_equal(s.size, n) for s, n in zip(subscripts, sizes, strict=True)):
        letters = tuple(s for s in subscripts if isinstance(s, Index))
        distinct = tuple(dict.fromkeys(letters))
        if distinct == letters:
            return place(Read(letters, dtype, name=expr.name), order)
        if BATCH not in letters[1:]:
            diagonal = Read(letters, dtype, name=expr.name)
            return place(Einsum(distinct, dtype, (diagonal,)), order)
    # The stand-ins name the axes of the whole tensor.
    stand_ins: list[Index] = []
    for subscript, size in zip(subscripts, sizes, strict=True):
        own = subscript if isinstance(subscript, Index) and subscript not in stand_ins else Index("i", size)
        stand_ins.append(fresh(own if own.size == size else Index(own.name, size), stand_ins))
    source: Array = Read(tuple(stand_ins), dtype, name=expr.name)
    view = opened(lowerer.ranges, source, subscripts)
    if view is not None:
        return place(_sliced(lowerer, expr, view, order), order)
    along = _along(lowerer, source, subscripts, dtype)
    if along is not None:
        return place(along, order)
    first = addressed_first(subscripts)
    found = places(lowerer, [subscripts[k] for k in first], order)
    if found is None:
        return lowerer.lower(_masked(lowerer, expr, order), order)
    where, arrays, axes = found
    source = transposed(source, [stand_ins[k] for k in first])
    return place(Take(axes, dtype, (source, *arrays), where=where), order)


def _sliced(lowerer: Expressions, expr: Element, view: Opened, order: Sequence[Axis]) -> Array:
    """Return the elements of a view with slices, at numbers, and through integer arrays."""
    dtype, subscripts = view.source.dtype, view.subscripts
    source = view.source
    first = addressed_first(subscripts)
    found = places(lowerer, [subscripts[k] for k in first], order)
    if found is None:
        return lowerer.full(_masked(lowerer, expr, order), order)
    where, arrays, axes = found
    spans = tuple(view.spans.get(k) if w is None else w for k, w in zip(first, where, strict=True))
    array = transposed(source, [source.indices[k] for k in first])
    if any(w is not None for w in spans):
        array = Take(axes, dtype, (array, *arrays), where=spans)
    elif array.axes != axes:
        array = replace(array, axes=axes)
    if view.turned.intersection(axes):
        whole = [Span(step=S.NegativeOne) if i in view.turned else None for i in axes]
        array = Take(axes, dtype, (array,), where=tuple(whole))
    if view.offsets and not arrays and set(view.offsets) <= set(axes):
        return lowerer.local(expr.name.removesuffix("_padded") + "_windows", array, view.offsets)
    return array


def _rows(lowerer: Expressions, expr: Element, axis: int) -> Array | None:
    """Return ``h[1:]`` or ``h[:-1]`` for the values of a recurrence at its steps, or at the steps before."""
    subscripts, sizes = expr.subscripts, lowerer.shapes[expr.name]
    first, letter = subscripts[axis].as_coeff_Add()
    letters = [letter if k == axis else s for k, s in enumerate(subscripts)]
    plain = [i for i in letters if isinstance(i, Index)]
    if len(plain) < len(letters) or len(set(plain)) < len(plain) or letter.size == sizes[axis]:
        return None
    whole = [Index(i.name, sizes[axis]) if k == axis else i for k, i in enumerate(plain)]
    return rows(Read(tuple(whole), Dtype.of(expr.kind), name=expr.name), axis, plain[axis], int(first))


def computed_axes(subscripts: Sequence[Expr]) -> tuple[set[int], set[Index]]:
    """Return the axes that are read through integer arrays, and the indices these run over."""
    inside: set[Index] = set()
    for s in subscripts:
        if not isinstance(s, Index):
            inside |= free_indices(s)
    letters = [s for s in subscripts if isinstance(s, Index)]
    inside |= {s for s in letters if letters.count(s) > 1}
    axes = {k for k, s in enumerate(subscripts) if not isinstance(s, Index) or s in inside}
    return axes, inside


def addressed_first(subscripts: Sequence[Expr]) -> list[int]:
    """Return the axes in an order in which NumPy keeps batch axes first; usually as they are.

    Those of the places it puts before what stands between the brackets; and
    places along axes that are apart it puts before everything else.
    """
    axes, inside = computed_axes(subscripts)
    everything = list(range(len(subscripts)))
    apart = axes and max(axes) - min(axes) + 1 > len(axes)
    if BATCH in subscripts and 0 not in axes and apart and inside:
        return [0, *sorted(axes), *(k for k in everything[1:] if k not in axes)]
    if BATCH not in inside or 0 in axes or not axes:
        return everything
    return [*sorted(axes), *(k for k in everything if k not in axes)]


def places(lowerer: Expressions, subscripts: Sequence[Expr], order: Sequence[Axis]) -> Places | None:
    """Return what to write between the brackets, or None where batch axes stand in the way."""
    axes, inside = computed_axes(subscripts)
    if any(k in axes and s == BATCH for k, s in enumerate(subscripts)):
        return None
    domain = natural_order([s for k, s in enumerate(subscripts) if k in axes], order) if inside else ()
    where: list[Entry] = []
    arrays: list[Array] = []
    constant = all(is_number(subscripts[k]) for k in axes)
    for k, subscript in enumerate(subscripts):
        if k not in axes:
            where.append(None)
        elif is_number(subscript):
            where.append(subscript)
        else:
            arrays.append(lowerer.lower(subscript, domain))
            where.append(len(arrays))
    whole = [(k, s) for k, s in enumerate(subscripts) if k not in axes and isinstance(s, Index)]
    if constant:
        return tuple(where), (), tuple(s for _, s in whole)
    first, last = min(axes), max(axes)
    if last - first + 1 == len(axes):
        result = (*(s for k, s in whole if k < first), *domain, *(s for k, s in whole if k > last))
    else:
        result = (*domain, *(s for _, s in whole))
    return tuple(where), tuple(arrays), result


def _along(lowerer: Expressions, source: Array, subscripts: Sequence[Expr], dtype: Dtype) -> Array | None:
    """Return ``take_along_axis`` where batch axes are read row by row along one other axis."""
    _, inside = computed_axes(subscripts)
    computed = [k for k, s in enumerate(subscripts) if not isinstance(s, Index)]
    if len(computed) != 1 or BATCH not in inside or BATCH not in subscripts:
        return None
    (axis,) = computed
    letters = [s for s in subscripts if isinstance(s, Index)]
    if len(set(letters)) < len(letters) or not inside <= set(letters) or isinstance(subscripts[axis], Index):
        return None
    at = lowerer.lower(subscripts[axis], [None if k == axis else s for k, s in enumerate(subscripts)])
    over = source.axes[axis]
    assert over is not None
    if len(at.axes) != len(subscripts):
        return None
    return TakeAlong(tuple(letters), dtype, (source, at), over=over)


def _masked(lowerer: Expressions, expr: Element, taken: Sequence[Axis]) -> Expr:
    """x[f] = sum[i](where(i == f, x[i], 0)): always right, and as large as the whole tensor."""
    used: list[Index] = [i for i in (*taken, *free_indices(expr)) if i is not None]
    subscripts: list[Expr] = []
    over: list[Index] = []
    test: Expr = S.One
    for subscript, size in zip(expr.subscripts, lowerer.shapes[expr.name], strict=True):
        if isinstance(subscript, Index) and subscript not in subscripts:
            subscripts.append(subscript)
            continue
        index = fresh(Index("i", size), used)
        used.append(index)
        over.append(index)
        subscripts.append(index)
        test = Eq(index, subscript) if test is S.One else And(test, Eq(index, subscript))
    return Sum(Where(test, Element(expr.tensor, *subscripts), S.Zero), *over)
