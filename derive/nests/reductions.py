"""Reductions as pieces: what each starts from, how it goes on, and the steps of those that need several.

    y[n] = logsumexp[c](z[n, c])
        max_z[n] = -inf;  max_z[n] max= z[n, c];  top[n] = max_z[n] where that is finite, else 0
        sum_z[n] = 0;  sum_z[n] += exp(z[n, c] - top[n]);  y[n] = top[n] + log(sum_z[n])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sympy
from sympy import Expr, Integer, S

from derive.algebra.functions import AtLeast, Eq, Lt, Where
from derive.algebra.nodes import (
    ArgMax,
    Element,
    KeepingReduction,
    LogSoftmax,
    LogSumExp,
    Max,
    Mean,
    Min,
    Norm,
    Prod,
    Reduction,
    SafeSoftmax,
    Softmax,
    Std,
    Sum,
    Var,
)
from derive.nests.pieces import Apart, Decay, Letters

if TYPE_CHECKING:
    from derive.nests.split import Splitter

__all__ = ["kept", "reduced"]

_START: dict[type[Expr], Expr] = {Max: S.NegativeInfinity, Min: S.Infinity, Prod: S.One, Sum: S.Zero}
_LEAST = Integer(-(10**30))
_OP: dict[type[Expr], str] = {Max: "max", Min: "min", Prod: "*=", Sum: "+="}


def reduced(splitter: Splitter, name: str, indices: Letters, expr: Reduction) -> None:
    """Append the pieces of ``name[indices] = reduction``."""
    bound, body = expr.indices, expr.body
    if isinstance(expr, Sum):
        splitter.sum(name, indices, expr, S.One)
    elif isinstance(expr, Mean):
        splitter.add(name, indices, "=", splitter.lifted(Sum(body, *bound), indices) / expr.count, indices)
    elif isinstance(expr, Var):
        shifted = body - splitter.lifted(Mean(body, *bound), indices)
        splitter.add(name, indices, "=", splitter.lifted(Sum(shifted**2, *bound), indices) / expr.count, indices)
    elif isinstance(expr, Std):
        splitter.add(name, indices, "=", sympy.sqrt(splitter.lifted(Var(body, *bound), indices)), indices)
    elif isinstance(expr, Norm):
        top = splitter.lifted(Max(sympy.Abs(body), *bound), indices)
        scale = _guarded(splitter, f"scale_{name}", top, indices, S.One, positive=True)
        squares = splitter.lifted(Sum((body / scale) ** 2, *bound), indices)
        splitter.add(name, indices, "=", scale * sympy.sqrt(squares), indices)
    elif isinstance(expr, LogSumExp):
        top = _guarded(splitter, f"top_{name}", splitter.lifted(Max(body, *bound), indices), indices, S.Zero)
        total = splitter.lifted(Sum(sympy.exp(body - top), *bound), indices)
        splitter.add(name, indices, "=", top + sympy.log(total), indices)
    elif isinstance(expr, ArgMax):
        _argmax(splitter, name, indices, expr)
    else:
        kind = type(expr)
        inner = splitter.lifted(body, (*indices, *bound))
        splitter.add(name, indices, "=", _START[kind], indices)
        splitter.add(name, indices, _OP[kind], inner, (*indices, *bound))


def _guarded(
    splitter: Splitter, stem: str, value: Expr, indices: Letters, other: Expr, *, positive: bool = False
) -> Element:
    """Return a temporary that holds the value where it is finite (and positive), else ``other``."""
    name = splitter.temporary(stem, indices)
    finite = Lt(sympy.Abs(value), S.Infinity)
    expr = Where(Lt(S.Zero, value), Where(finite, value, other), other) if positive else Where(finite, value, other)
    splitter.add(name, indices, "=", expr, indices)
    return splitter.tensors[name].element


def _argmax(splitter: Splitter, name: str, indices: Letters, expr: ArgMax) -> None:
    """The first place of the largest: the least number of those whose element equals the maximum."""
    top = splitter.lifted(Max(expr.body, *expr.indices), indices)
    place, size = S.Zero, S.One
    for index in expr.indices:
        place = place * index.size + index
        size = size * index.size
    splitter.add(name, indices, "=", size - 1, indices)
    body = splitter.lifted(expr.body, (*indices, *expr.indices))
    splitter.add(name, indices, "min", Where(Eq(body, top), place, size - 1), (*indices, *expr.indices))


def kept(splitter: Splitter, name: str, indices: Letters, expr: KeepingReduction) -> None:
    """Append the pieces of a softmax or log-softmax over letters of ``indices``."""
    over = expr.indices
    outer = tuple(i for i in indices if i not in over)
    body = splitter.lifted(expr.body, indices)
    own = Element(splitter.tensors[name].element.tensor, *indices)
    if isinstance(expr, LogSoftmax) and (body, over) in splitter.tops:
        _log_softmax(splitter, name, indices, body, *splitter.tops[body, over])
        return
    if not isinstance(body, Element):
        splitter.add(name, indices, "=", body, indices)
        body = own
    top = splitter.temporary(f"max_{name}", outer)
    # Where all are -inf, exp(-inf + 1e30) is 0, and so is their sum; where not, the largest adds 1 to it.
    safe = isinstance(expr, SafeSoftmax)
    splitter.add(top, outer, "=", _LEAST if safe else S.NegativeInfinity, outer)
    splitter.add(top, outer, "max", body, indices)
    shifted = body - splitter.tensors[top].element
    total = splitter.temporary(f"sum_{name}", outer)
    if isinstance(expr, Softmax):
        splitter.add(name, indices, "=", Decay(shifted), indices)
        splitter.add(total, outer, "=", S.Zero, outer)
        splitter.add(total, outer, "+=", own, indices)
        scale = splitter.temporary(f"scale_{name}", outer)
        sums = splitter.tensors[total].element
        splitter.add(scale, outer, "=", 1 / (AtLeast(sums, S.One) if safe else sums), outer)
        splitter.add(name, indices, "*=", splitter.tensors[scale].element, indices)
        if not safe and body is not own:
            splitter.tops[body, over] = (top, total)
    else:
        assert isinstance(expr, LogSoftmax), expr
        splitter.add(total, outer, "=", S.Zero, outer)
        splitter.add(total, outer, "+=", Decay(shifted), indices)
        _log_softmax(splitter, name, indices, body, top, total)


def _log_softmax(splitter: Splitter, name: str, indices: Letters, body: Expr, top: str, total: str) -> None:
    """Append ``name = (body - top) - log(total)``."""
    outer = splitter.tensors[total].indices
    log = splitter.temporary(f"log_{name}", outer)
    splitter.add(log, outer, "=", sympy.log(splitter.tensors[total].element), outer)
    shifted = Apart(body - splitter.tensors[top].element)
    splitter.add(name, indices, "=", shifted - splitter.tensors[log].element, indices)
