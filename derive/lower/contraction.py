"""Sums of products: matrix products, dot products, einsum, or a plain reduction.

    sum[i](x[n, i]*w[i, o])            x @ w
    sum[n](x[n, i]*dy[n, o])           x.T @ dy
    sum[d](q[..., t, d]*k[..., s, d])  q @ np.swapaxes(k, -1, -2)
    sum[...](x[..., i]*dy[..., o])     x.reshape(-1, I).T @ dy.reshape(-1, O)
    sum[n](dy[n, d]*xhat[n, d])        (dy * xhat).sum(axis=0)

Two factors that both have an index of their own are a matrix product; one
factor that has all indices makes the sum an elementwise product and a
reduction; three or more factors are brought down to two where that costs
nothing (a factor whose indices another one has is multiplied into it), and
otherwise go to ``einsum``, which chooses the order by the actual sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sympy import Expr, Mul

from derive.algebra.indices import free_indices
from derive.algebra.nodes import BATCH, Element, Index, Sum
from derive.lower.arrays import Array, Axis, Contract, Dtype, Einsum, Regroup, Reshape, Tensordot, Transpose, walk
from derive.lower.grouped import grouped
from derive.lower.layout import transposed

if TYPE_CHECKING:
    from derive.lower.expressions import Expressions

__all__ = ["contraction", "is_plain_transpose"]

Group = tuple[Expr, ...]


def contraction(lowerer: Expressions, factors: Sequence[Expr], bound: Sequence[Index], order: Sequence[Axis]) -> Array:
    """Return the sum of a product over ``bound``; every factor has one of these indices."""
    places = {axis: p for p, axis in enumerate(order)}

    def first(factor: Expr) -> tuple[object, ...]:
        """Order factors as their indices stand in the result."""
        return (min((places.get(i, len(places)) for i in free_indices(factor)), default=0), *lowerer.key(factor))

    groups, left = _grouped([(f,) for f in sorted(factors, key=first)], tuple(bound))
    if len(groups) == 1:
        whole = Mul(*groups[0])
        return lowerer.reduced(Sum(whole, *left), order) if left else lowerer.full(whole, order)
    outer = [g for g in groups if not _indices(g).intersection(left)]
    if outer:
        inner = Mul(*(f for g in groups if g not in outer for f in g))
        return lowerer.full(Mul(*(f for g in outer for f in g), Sum(inner, *left) if left else inner), order)
    if len(groups) == 2:
        found = _pair(lowerer, groups[0], groups[1], left, order)
        if found is not None:
            return found
        return lowerer.reduced(Sum(Mul(*groups[0], *groups[1]), *left), order)
    return _einsum([_operand(lowerer, g, order) for g in groups], left, order, optimize=True)


def _indices(group: Group) -> frozenset[Index]:
    return frozenset().union(*map(free_indices, group))


def _grouped(groups: list[Group], bound: tuple[Index, ...]) -> tuple[list[Group], tuple[Index, ...]]:
    """Sum what only one factor has, and multiply factors into others, until nothing is free of cost."""
    while len(groups) > 1:
        for k, group in enumerate(groups):
            others = frozenset().union(*(_indices(g) for j, g in enumerate(groups) if j != k))
            own = tuple(i for i in bound if i in _indices(group) and i not in others)
            if own:
                groups = [*groups[:k], (Sum(Mul(*group), *own),), *groups[k + 1 :]]
                bound = tuple(i for i in bound if i not in own)
                break
        else:
            if len(groups) == 2:
                break
            merged = _merge_once(groups, bound)
            if merged is None:
                break
            groups = merged
        present = frozenset().union(*map(_indices, groups))
        bound = tuple(i for i in bound if i in present)
    return groups, bound


def _merge_once(groups: list[Group], bound: Sequence[Index]) -> list[Group] | None:
    """Multiply one factor into another that has all its indices, or contract a vector with a matrix."""
    best: tuple[int, int, int, int] | None = None
    for a, small in enumerate(groups):
        for b, large in enumerate(groups):
            if a == b or not _indices(small) <= _indices(large):
                continue
            if _indices(small) == _indices(large) and a < b:
                continue
            others = frozenset().union(*(_indices(g) for k, g in enumerate(groups) if k not in (a, b)))
            alone = [i for i in bound if i in _indices(small) and i not in others]
            candidate = (0 if alone and _indices(small) != _indices(large) else 1, len(_indices(large)), a, b)
            if best is None or candidate < best:
                best = candidate
    if best is None:
        return None
    contracting, _, a, b = best
    group = (*groups[b], *groups[a])
    if contracting == 0:
        others = frozenset().union(*(_indices(g) for k, g in enumerate(groups) if k not in (a, b)))
        group = (Sum(Mul(*group), *(i for i in bound if i in _indices(groups[a]) and i not in others)),)
    return [group if k == b else g for k, g in enumerate(groups) if k != a]


def _operand(lowerer: Expressions, group: Group, order: Sequence[Axis]) -> Array:
    from derive.lower.expressions import as_real

    array = as_real(lowerer.full(Mul(*group), order))
    assert set(array.indices) == _indices(group), f"lower: {array} lacks an axis"
    return array


def _pair(
    lowerer: Expressions, first: Group, second: Group, bound: Sequence[Index], order: Sequence[Axis]
) -> Array | None:
    """Return the contraction of two factors, or None where an elementwise product does as well."""
    s, t = _indices(first), _indices(second)
    private_s, private_t = s - t, t - s
    shared = (s & t) - set(bound)
    if not private_s and not private_t:
        if shared or len(bound) > 1 or not all(_is_read(g) for g in (first, second)):
            return None
        a, b = _operand(lowerer, first, order), _operand(lowerer, second, order)
        return _merged_vectors(a, b, bound)
    if not private_s:
        first, second, private_s, private_t = second, first, private_t, private_s
    if not private_t and BATCH in bound and not _is_read(first):
        return None
    a, b = _operand(lowerer, first, order), _operand(lowerer, second, order)
    bound = tuple(bound)
    if not private_t:
        return _vector(a, b, bound, shared, order)
    if lowerer.grouped or lowerer.is_window(a) or lowerer.is_window(b):
        product = grouped(lowerer, a, b, bound, order)
        if product is not None:
            return product
    if BATCH in bound or (len(bound) > 1 and not shared):
        a, b, bound = _merge_leading(a, b, bound)
    if len(bound) == 1:
        found = _matrices(a, b, bound[0], shared, order)
        if found is not None:
            return found
    if not shared:
        found = _trailing(a, b, len(bound), order) or _trailing(b, a, len(bound), order)
        if found is not None:
            return found
    if shared and BATCH not in (*a.indices, *b.indices):
        product = grouped(lowerer, a, b, bound, order)
        if product is not None and _merges(product) == _merges(a) + _merges(b):
            return product
    return _einsum([a, b], bound, order, optimize=True)


def _merges(array: Array) -> int:
    """Return how many times axes are merged or split."""
    return sum(isinstance(node, (Regroup, Reshape)) for node in walk(array))


def _is_read(group: Group) -> bool:
    """Return whether the group is a tensor, or a sum that is an array of its own anyway."""
    return len(group) == 1 and isinstance(group[0], (Element, Sum))


def _merged_vectors(a: Array, b: Array, bound: Sequence[Index]) -> Array | None:
    if BATCH in bound:
        return None
    return Contract((), Dtype.REAL, (a, b))


def _vector(a: Array, b: Array, bound: tuple[Index, ...], shared: frozenset[Index], order: Sequence[Axis]) -> Array:
    """Contract a matrix ``a`` with a vector ``b``, all of whose indices ``a`` has."""
    if shared:
        if BATCH in bound:
            a, b, bound = _merge_leading(a, b, bound)
        return _einsum([a, b], bound, order, optimize=False)
    if BATCH in bound or len(bound) > 1:
        a, b, bound = _merge_leading(a, b, bound)
    if len(bound) > 1:
        return _einsum([a, b], bound, order, optimize=True)
    (k,) = bound
    rest = tuple(i for i in a.indices if i != k)
    if a.axes[-1] == k:
        return Contract(rest, Dtype.REAL, (a, b))
    if len(a.axes) == 2:
        return Contract(rest, Dtype.REAL, (b, a))
    return _einsum([a, b], bound, order, optimize=True)


def _merge_leading(a: Array, b: Array, bound: tuple[Index, ...]) -> tuple[Array, Array, tuple[Index, ...]]:
    """Merge the contracted axes into one by a reshape: they go first, in the same order in both."""
    leads_a, leads_b = ({*x.indices[: len(bound)]} == set(bound) for x in (a, b))
    if BATCH in bound and not (leads_a and leads_b):
        over: tuple[Index, ...] = (BATCH,)
    else:
        over = tuple(i for i in (a if leads_a else b).indices if i in bound)
        if BATCH not in bound and not (leads_a and leads_b):
            return a, b, bound
    row = Index("rows", Mul(*(i.size for i in over)))
    rest = tuple(i for i in bound if i not in over)
    return _flattened(a, over, row), _flattened(b, over, row), (row, *rest)


def _flattened(array: Array, over: tuple[Index, ...], row: Index) -> Array:
    rest = tuple(i for i in array.indices if i not in over)
    array = transposed(array, (*over, *rest))
    return Reshape((row, *rest), array.dtype, (array,))


def _matrices(a: Array, b: Array, k: Index, shared: frozenset[Index], order: Sequence[Axis]) -> Array | None:
    """Return ``a @ b`` over ``k``, or None where the axes do not lend themselves to it."""
    place = {axis: p for p, axis in enumerate(order)}

    def late(index: Index) -> int:
        return place.get(index, len(place))

    rows = [i for i in a.indices if i != k and i not in shared]
    columns = [i for i in b.indices if i != k and i not in shared]
    if len(rows) == 1 and len(columns) == 1:
        if late(columns[0]) < late(rows[0]):
            a, b, rows, columns = b, a, columns, rows
        if shared and BATCH in (rows[0], columns[0]):  # it may have no axis, and a matrix needs one
            return None
        batch = tuple(sorted(shared, key=lambda i: (i != BATCH, place.get(i, len(place)))))
        left, right = (*batch, rows[0], k), (*batch, k, columns[0])
        if not is_plain_transpose(a.indices, left) or not is_plain_transpose(b.indices, right):
            return None
        pair = (transposed(a, left), transposed(b, right))
        return Contract((*batch, rows[0], columns[0]), Dtype.REAL, pair)
    if shared:
        return None
    if len(columns) != 1:
        a, b, rows, columns = b, a, columns, rows
    if len(columns) != 1 or a.axes[-1] != k or any(late(columns[0]) < late(i) for i in rows):
        return None
    return Contract((*rows, columns[0]), Dtype.REAL, (a, transposed(b, (k, columns[0]))))


def _trailing(a: Array, b: Array, count: int, order: Sequence[Axis]) -> Array | None:
    """Return the contraction of the last axes of ``a`` with the first ones of ``b``, if these are the ones."""
    if a.indices[-count:] != b.indices[:count] or isinstance(a, Transpose) or isinstance(b, Transpose):
        return None
    axes = (*a.indices[:-count], *b.indices[count:])
    if axes != tuple(axis for axis in order if axis in axes):
        return None
    return Tensordot(axes, Dtype.REAL, (a, b), count=count)


def is_plain_transpose(before: Sequence[Index], after: Sequence[Index]) -> bool:
    """Return whether one swap or one move of an axis does it."""
    before, after = tuple(before), tuple(after)
    if sum(p != q for p, q in zip(before, after, strict=True)) <= 2:
        return True
    for axis in before:
        rest = [i for i in before if i != axis]
        if rest == [i for i in after if i != axis]:
            return True
    return False


def _einsum(arrays: list[Array], bound: Sequence[Index], order: Sequence[Axis], *, optimize: bool) -> Array:
    """Return an einsum whose result has its axes in the order of the context."""
    bound = tuple(bound)
    if BATCH in bound:
        row = Index("rows", BATCH.size)
        arrays = [_flattened(a, (BATCH,), row) if BATCH in a.indices else a for a in arrays]
        bound = tuple(row if i == BATCH else i for i in bound)
    arrays = [a.args[0] if isinstance(a, Transpose) else a for a in arrays]
    present = dict.fromkeys(i for a in arrays for i in a.indices)
    places = {axis: p for p, axis in enumerate(order)}
    out = sorted((i for i in present if i not in bound), key=lambda i: (i != BATCH, places.get(i, len(places))))
    return Einsum(tuple(out), Dtype.REAL, tuple(arrays), optimize=optimize)
