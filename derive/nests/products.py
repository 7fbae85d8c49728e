"""Sums of products as products of matrices.

    sum[d](q[b, t, d]*k[b, s, d])       for every b:  q[b] @ k[b].T

A letter in both operands and the result is a loop around the product, one in
an operand and the result numbers rows or columns, one in both operands alone
is summed. Several letters are one dimension where they are neighbours, in the
same order, in both arrays that have them; otherwise some of them become loops.
An operand that is no plain tensor, or whose elements don't lie as a library
wants them, is written to a temporary array first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product as combinations
from typing import TYPE_CHECKING

from sympy import Expr, Mul

from derive.algebra.indices import free_indices
from derive.algebra.nodes import BATCH, Delta, Element, Index
from derive.nests.pieces import Letters, Product

if TYPE_CHECKING:
    from derive.nests.split import Splitter

__all__ = ["Operands", "arranged", "operands"]

Axes = Sequence[Index | None]

_FEW = 4


@dataclass(frozen=True, slots=True)
class Operands:
    """``alpha * outer * sum[bound](a*b)``: alpha a number or scalar, outer without the bound letters."""

    a: Expr
    b: Expr
    bound: Letters
    outer: Expr
    alpha: Expr


def operands(term: Expr, bound: Sequence[Index]) -> Operands | None:
    """Return the two operands of a sum of a product, or None where it is no product of matrices."""
    scalars: list[Expr] = []
    outer: list[Expr] = []
    core: list[Expr] = []
    over = set(bound)
    for factor in Mul.make_args(term):
        free = free_indices(factor)
        (core if free & over else outer if free else scalars).append(factor)
    if any(f.has(Delta) for f in core):
        return None
    groups = [(f, free_indices(f)) for f in core]
    while len(groups) > 2:
        merged = _merged(groups)
        if merged is None:
            return None
        groups = merged
    if len(groups) != 2:
        return None
    (a, in_a), (b, in_b) = groups
    inner = over & in_a & in_b
    if over - inner:
        return None
    rows, columns = in_a - in_b, in_b - in_a
    if any(not g or _is_few(g) for g in (rows, columns, inner)):
        return None
    return Operands(a, b, tuple(bound), Mul(*outer), Mul(*scalars))


def _is_few(letters: frozenset[Index] | set[Index]) -> bool:
    count = Mul(*(i.size for i in letters))
    return bool(count.is_Integer and count <= _FEW)


def _merged(groups: list[tuple[Expr, frozenset[Index]]]) -> list[tuple[Expr, frozenset[Index]]] | None:
    """Merge a factor into one that has all its letters; None where there is none."""
    for k, (f, small) in sorted(enumerate(groups), key=lambda item: (len(item[1][1]), str(item[1][0]))):
        homes = [j for j, (_, large) in enumerate(groups) if j != k and small <= large]
        if homes:
            home = min(homes, key=lambda j: (len(groups[j][1]), str(groups[j][0])))
            result = [g for j, g in enumerate(groups) if j not in (k, home)]
            return [*result, (f * groups[home][0], groups[home][1])]
    return None


Arranged = tuple[Product, Letters, Letters | None, Expr]


def arranged(splitter: Splitter, indices: Letters, found: Operands) -> Arranged | None:
    """Return how a product is computed: the product, its loops, the letters of its result, what multiplies it.

    The result's letters are None where it is computed in place, in ``indices``.
    """
    in_a, in_b = free_indices(found.a), free_indices(found.b)
    inner = set(found.bound)
    steps = splitter.steps  # a recurrence is computed step by step: its letter is a loop
    rows, columns = in_a - in_b - steps, in_b - in_a - steps
    batch = ((in_a | in_b) - inner) - rows - columns
    if not rows or not columns:
        return None
    target: Letters | None = None
    letters = tuple(i for i in indices if i in in_a | in_b)
    if len(letters) < len((in_a | in_b) - inner):
        return None
    if found.outer != 1 or letters != indices or not letters or letters[-1] in batch:
        target = (*(i for i in letters if i in batch), *(i for i in letters if i not in batch))
    result = target if target is not None else indices
    last = result[-1]
    if last in rows:  # the columns are what lies together in the result
        found = replace(found, a=found.b, b=found.a)
        rows, columns = columns, rows
    own = {*rows, *columns, *inner}
    order = _inner_order(found, inner, splitter)
    outer = tuple(i for i in result if i in batch)
    ranked = (tuple(i for i in result if i in rows), tuple(i for i in result if i in columns), order)
    a = _plain(splitter, found.a, own)
    b = _plain(splitter, found.b, own)
    for again in range(3):
        if again or a is None:
            a = a if a is not None and again < 2 else _stored(splitter, found.a, result, ranked[0], ranked[2], found.b)
        if again or b is None:
            b = b if b is not None and again != 1 else _stored(splitter, found.b, result, ranked[1], ranked[2], found.a)
        assert a is not None
        assert b is not None
        chosen = _chosen(a, b, result, rows, columns, inner)
        if chosen is not None:
            break
    else:
        return None
    row, column, summed = chosen
    matrix = {*row, *column, *summed}
    loops = tuple(i for i in (*outer, *ranked[0], *ranked[1], *ranked[2]) if i not in matrix)
    return Product(a, b, row, column, summed, found.alpha), loops, target, found.outer


def _inner_order(found: Operands, inner: set[Index], splitter: Splitter) -> Letters:
    """Return the summed letters in the order of an operand that is plain, else of any."""
    for expr in (found.a, found.b):
        if isinstance(expr, Element):
            letters = tuple(s for s in expr.subscripts if isinstance(s, Index) and s in inner)
            if set(letters) == inner:
                return letters
    return tuple(sorted(inner, key=lambda i: (i != BATCH, i.name)))


def _plain(splitter: Splitter, expr: Expr, own: set[Index]) -> Element | None:
    """Return an operand that is a tensor with letters of whole axes, or None."""
    if not isinstance(expr, Element) or not expr.kind.differentiable:
        return None
    letters: list[Index] = []
    for subscript, size in zip(expr.subscripts, splitter.shapes[expr.name], strict=True):
        if isinstance(subscript, Index) and splitter.ranges.is_equal(subscript.size, size):
            letters.append(subscript)
        elif free_indices(subscript) & own:
            return None
    return expr if len(set(letters)) == len(letters) and own & set(letters) else None


def _stored(
    splitter: Splitter, expr: Expr, result: Letters, own: Letters, inner: Letters, other: Expr
) -> Element:
    """Write an operand to a temporary array, its contiguous axis as where it is read.

    Of its own letters, those that are neighbours in the result are a dimension, and of the summed ones those that are
    neighbours in the other operand; the others come first.
    """
    free = free_indices(expr)
    own = _last_run(result, own)
    if isinstance(other, Element):
        inner = _last_run(other.subscripts, inner)
    rest = sorted(free.difference(result), key=lambda i: i.name)
    batch = tuple(i for i in (*result, *rest) if i in free and i not in (*own, *inner))
    order = splitter.ordered_letters(expr, (*batch, *own, *inner))
    indices = (*batch, *own, *inner) if order and order[-1] in inner else (*batch, *inner, *own)
    return splitter.operand(expr, indices)


def _last_run(axes: Sequence[Expr], letters: Letters) -> Letters:
    """Return the last of the letters that are neighbours among the axes."""
    last = max((k for k, i in enumerate(axes) if i in letters), default=-1)
    first = last
    while first > 0 and axes[first - 1] in letters:
        first -= 1
    return tuple(i for i in axes[first : last + 1] if isinstance(i, Index)) if last >= 0 else ()


def _chosen(
    a: Element, b: Element, result: Letters, rows: frozenset[Index], columns: frozenset[Index], inner: set[Index]
) -> tuple[Letters, Letters, Letters] | None:
    """Return the letters of each dimension, as many as go together, so that each array has neighbours in one."""
    axes_a: Axes = [s if isinstance(s, Index) else None for s in a.subscripts]
    axes_b: Axes = [s if isinstance(s, Index) else None for s in b.subscripts]
    axes_c: Axes = result
    best: tuple[tuple[int, ...], tuple[Letters, Letters, Letters]] | None = None
    for row, column, summed in combinations(
        _runs(axes_a, axes_c, rows), _runs(axes_b, axes_c, columns), _runs(axes_a, axes_b, inner)
    ):
        if axes_a[-1] not in (*row, *summed) or axes_b[-1] not in (*column, *summed):
            continue
        if axes_c[-1] not in column:
            continue
        rank = (len(row) + len(column) + len(summed), len(summed), _place(axes_c, column), _place(axes_c, row))
        if best is None or rank > best[0]:
            best = (rank, (row, column, summed))
    return None if best is None else best[1]


def _place(axes: Axes, run: Letters) -> int:
    return axes.index(run[-1])


def _runs(x: Axes, y: Axes, letters: frozenset[Index] | set[Index]) -> list[Letters]:
    """Return the runs of letters that are neighbours in the same order in both arrays."""
    found: list[Letters] = []
    for start in range(len(x)):
        for stop in range(start + 1, len(x) + 1):
            run = x[start:stop]
            if not all(i is not None and i in letters for i in run):
                break
            if any(list(y[k : k + len(run)]) == list(run) for k in range(len(y))):
                found.append(tuple(i for i in run if i is not None))
    return found
