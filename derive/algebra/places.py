"""Whether a place lies in the range of an index: where a formula may be read at another place.

``u[k, i] = sum[j](a[i, j]*v[k - 1, j])`` says what ``sum[j](a[m, j]*v[t - 1, j])``
is for every step t, ``u[t, m]``. Of ``sum[j](a[m, j]*v[K - 1, j])`` it says
nothing: that would be ``u[K, m]``, and the last step is K - 1. So it is with
windows (``x[0]`` is ``x[p + 1]`` at no window) and where a declared shape makes
a range shorter than the axis that is read (``x[t[n]]`` may lie beyond it).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from sympy import Expr, S

from derive.algebra.functions import Eq, Ne, Where
from derive.algebra.indices import free_indices, open_elements
from derive.algebra.nodes import Delta, Element, Index

__all__ = ["Axes", "all_inside", "chosen", "is_proved", "may_stand_for"]

Axes = Mapping[str, tuple[Expr, ...]]
"""The sizes of the axes of tensors, by name."""


def may_stand_for(index: Index, value: Expr) -> bool:
    """Return whether a value of an index lies in its range, gathers and constants being taken to do so."""
    if isinstance(value, Index):
        return bool(value.size == index.size)
    if isinstance(value, Element) or not free_indices(value):
        return True
    return any(i.size == index.size and value + i == index.size - 1 for i in free_indices(value))


def all_inside(values: Mapping[Expr, Expr], formula: Iterable[Expr], axes: Axes) -> bool:
    """Return whether values of a formula's indices lie in their ranges for certain.

    What is read by an index alone along the whole of its axis is inside wherever it is read;
    any other gather may lie outside, and a constant is proved to be inside or is not.

    Args:
        values: of the indices; each :func:`may_stand_for` its index, gathers and constants included.
        formula: the expressions in which the indices stand.
        axes: of the tensors that are read; those of others are unknown.
    """
    fixed = [i for i, v in values.items() if not isinstance(v, Index) and not _is_mirrored(v)]
    if not fixed:
        return True
    whole = _whole_axes(formula, axes)
    return all(
        isinstance(i, Index) and not _is_outside(i, values[i]) and (i in whole or is_proved(i, values[i]))
        for i in fixed
    )


def _is_mirrored(value: Expr) -> bool:
    return not isinstance(value, Element) and bool(free_indices(value))


def _whole_axes(formula: Iterable[Expr], axes: Axes) -> frozenset[Index]:
    """The indices that stand alone where an element is read, along an axis that they run over from end to end."""
    return frozenset(
        place
        for expr in formula
        for element in open_elements(expr)
        for place, size in zip(element.subscripts, axes.get(element.name, ()), strict=False)
        if isinstance(place, Index) and place.size == size
    )


def _is_outside(index: Index, value: Expr) -> bool:
    return bool(value.is_negative) or bool((value - index.size).is_nonnegative)


def is_proved(index: Index, value: Expr) -> bool:
    """Return whether a constant lies in a range of a given number of elements; how many a size has is not known."""
    return bool(index.size.is_Integer and value.is_Integer and 0 <= value < index.size)


def chosen(factor: Expr, bound: Collection[Index]) -> Expr:
    """``d == 0`` and ``where(d == 0, 1, 0)`` as ``δ(d, 0)``, which a sum over d reads everything else at.

    The range of ``d`` must be known to have the place; of a range of two, ``d != 0`` is ``δ(d, 1)``.
    What compares two numbers is one itself.
    """
    if isinstance(factor, Where) and set(factor.args[1:]) == {S.Zero, S.One}:
        condition, positive = factor.args[0], factor.args[1] == 1
    else:
        condition, positive = factor, True
    if not isinstance(condition, (Eq, Ne)):
        return factor
    positive = positive == isinstance(condition, Eq)
    for index, place in (condition.args, condition.args[::-1]):
        if index.is_Integer and place.is_Integer:
            return S.One if (index == place) == positive else S.Zero
        if not isinstance(index, Index) or index not in bound or not is_proved(index, place):
            continue
        if positive:
            return Delta(index, place)
        if index.size == 2:
            return Delta(index, 1 - place)
    return factor
