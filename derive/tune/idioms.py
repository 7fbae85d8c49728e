"""The fastest spelling of a reduction, and brackets whose factor goes to the small arrays.

    (dy * xhat).sum(axis=0)                 np.einsum("nd,nd->d", dy, xhat)        no array between
    (dy * y).sum(axis=-1, keepdims=True)    np.vecdot(dy, y)[:, None]
    dy.sum(axis=0)                          np.ones(len(dy), dy.dtype) @ dy        a product with BLAS
    g.mean(axis=-1)                         np.einsum("nd->n", g) / D
    -x / 2                                  x * -0.5
    c / N * (N * dy - s - b * x)            c * (dy - s / N - b / N * x)           a pass less

What is summed is the same; only the order in which floating-point numbers are
added differs. A sum over the leading batch axes is changed only where these
have been made one axis of rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sympy import Expr, Mul

from derive.algebra.nodes import BATCH, BATCH_SIZE, Size
from derive.lower.arrays import (
    Array,
    Binary,
    Contract,
    Dtype,
    Einsum,
    Expand,
    Name,
    Number,
    Ones,
    Reduce,
    Unary,
    Vecdot,
    transform,
)

__all__ = ["Known", "respelled"]

Known = Callable[[Expr], bool]
"""Whether the code can say a size as a number."""


def respelled(value: Array, known: Known) -> Array:
    """Return the array with its reductions in the fastest spelling; ``known`` sizes may be written."""
    return transform(value, lambda array: _respelled(array, known))


def _respelled(array: Array, known: Known) -> Array:
    if isinstance(array, Reduce) and array.dtype is Dtype.REAL and array.args[0].dtype is Dtype.REAL:
        return _reduction(array, known)
    if isinstance(array, Binary) and array.op == "*":
        return _spread(array)
    if isinstance(array, Binary) and array.op == "/":
        return _scaled(array)
    return array


def _scaled(quotient: Binary) -> Array:
    """``-a / 2`` as ``a * -0.5``: one pass, and no division."""
    above, below = quotient.args
    if isinstance(above, Unary) and above.op == "-" and above.axes and isinstance(below, Number):
        above, below = above.args[0], replace(below, value=-below.value)
    if isinstance(below, Number) and below.value.is_number and above.axes:
        return replace(quotient, args=(above, replace(below, value=1 / below.value)), op="*")
    return quotient


def _reduction(reduce: Reduce, known: Known) -> Array:
    if reduce.op == "mean":
        size = Mul(*(i.size for i in reduce.over))
        if not all(s == size or known(s) for s in (size, *size.free_symbols)) or not known(size):
            return reduce
        total = _reduction(replace(reduce, op="sum"), known)
        return Binary(reduce.axes, Dtype.REAL, (total, Number((), Dtype.NUMBER, value=size)), op="/")
    if reduce.op != "sum" or None in reduce.args[0].axes:
        return reduce
    source = reduce.args[0]
    factors = source.args if isinstance(source, Binary) and source.op == "*" else ()
    both = len(factors) == 2 and all(f.axes == source.axes and f.dtype is Dtype.REAL for f in factors)
    if reduce.over == source.axes[-1:] and reduce.over != (BATCH,) and len(source.axes) > 1:
        if both:
            return Vecdot(reduce.axes, Dtype.REAL, factors, keep=reduce.keep)
        return _row_sums(reduce) if isinstance(source, Name) else reduce
    if BATCH in reduce.over or reduce.keep:
        return reduce
    left = tuple(axis for axis in source.axes if axis not in reduce.over)
    if both:
        return Einsum(left, Dtype.REAL, factors)
    if reduce.over == source.axes[:1] and len(source.axes) == 2:
        ones = Ones(source.axes[:1], Dtype.REAL, (source,))
        return Contract(left, Dtype.REAL, (ones, source)) if isinstance(source, Name) else reduce
    return reduce


def _row_sums(reduce: Reduce) -> Array:
    """``a.sum(axis=-1)`` as ``a @ np.ones(…)``; only of matrices, whose product is one call of BLAS."""
    source = reduce.args[0]
    if len(source.axes) != 2 or BATCH in source.axes:
        return reduce
    left = source.axes[:1]
    total = Contract(left, Dtype.REAL, (source, Ones(source.axes[-1:], Dtype.REAL, (source,))))
    return Expand(reduce.axes, Dtype.REAL, (total,)) if reduce.keep else total


def _spread(product: Binary) -> Array:
    """``c / N * (N * a - s - b * x)`` as ``c * (a - s / N - b / N * x)``: a pass over the large array less."""
    for factor, bracket in (product.args, product.args[::-1]):
        if factor.axes == product.axes or bracket.axes != product.axes or not isinstance(bracket, Binary):
            continue
        size = _divisor(factor)
        if size is None:
            continue
        terms = _terms(bracket, 1)
        scaled = [_over(term, size, product.axes) for _, term in terms]
        if None in scaled or not any(_numbered(term, size) for _, term in terms):
            continue
        whole = factor.args[0]
        inner = scaled[0]
        if terms[0][0] < 0 or inner is None:
            continue
        for (sign, _), term in zip(terms[1:], scaled[1:], strict=True):
            assert term is not None
            inner = Binary(bracket.axes, Dtype.REAL, (inner, term), op="+" if sign > 0 else "-")
        return replace(product, args=(whole, inner))
    return product


def _divisor(factor: Array) -> Expr | None:
    """Return the size that a small array is divided by."""
    if isinstance(factor, Binary) and factor.op == "/" and isinstance(factor.args[1], Number):
        value = factor.args[1].value
        return value if isinstance(value, Size) and value != BATCH_SIZE else None
    return None


def _terms(array: Array, sign: int) -> list[tuple[int, Array]]:
    if isinstance(array, Binary) and array.op in ("+", "-"):
        left, right = array.args
        return [*_terms(left, sign), *_terms(right, sign if array.op == "+" else -sign)]
    return [(sign, array)]


def _numbered(term: Array, size: Expr) -> bool:
    """Return whether a term is a number of just this size times something."""
    return isinstance(term, Binary) and term.op == "*" and _is_number(term.args[0], size)


def _is_number(array: Array, size: Expr) -> bool:
    return isinstance(array, Number) and array.value == size


def _over(term: Array, size: Expr, axes: tuple[object, ...]) -> Array | None:
    """Return a term divided by the size where that takes no pass over the large array, or None."""
    number = Number((), Dtype.NUMBER, value=size)
    if _numbered(term, size):
        return term.args[1]
    if term.axes != axes:
        return Binary(term.axes, Dtype.REAL, (term, number), op="/")
    if isinstance(term, Binary) and term.op == "*":
        for k, factor in enumerate(term.args):
            if factor.axes != axes and not isinstance(factor, Number):
                small = Binary(factor.axes, Dtype.REAL, (factor, number), op="/")
                return replace(term, args=tuple(small if j == k else a for j, a in enumerate(term.args)))
    return None
