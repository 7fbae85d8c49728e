"""The value of index expressions as whole arrays, an axis an index.

    values = Dense(instance, {"dy": dy, "xhat": xhat})
    values.at(sum[n](dy[n, d]*xhat[n, d]), (d,))

A diagnosis tries thousands of formulas, so they are evaluated with NumPy
rather than element by element. Every array carries the indices that its axes
stand for; ``...`` is one axis here, all batch axes in one. A sum of a product
is one ``einsum``. Recurrences are left to :mod:`derive.check.evaluate`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.special
from numpy.typing import NDArray
from sympy import Add, Expr, Mul, Pow, S

from derive.algebra.functions import BY_CLASS, And, Not, Or
from derive.algebra.indices import names
from derive.algebra.nodes import (
    ArgMax,
    Delta,
    Element,
    Hyper,
    Index,
    LogSoftmax,
    LogSumExp,
    Max,
    Mean,
    Min,
    Norm,
    Padded,
    Prod,
    Reduction,
    Size,
    Softmax,
    Std,
    Sum,
    Var,
)
from derive.algebra.terms import Term
from derive.algebra.text import show
from derive.check.instance import Instance

__all__ = ["Dense", "Named", "Values"]

Values = NDArray[Any]

_MUCH = 1e5
"""Multiplications from which on the best order of a product is looked for."""

_CONSTANTS = {S.Pi: np.pi, S.Exp1: np.e, S.Infinity: np.inf, S.NegativeInfinity: -np.inf, S.NaN: np.nan}


@dataclass(frozen=True, slots=True)
class Named:
    """An array, and the index that each of its axes stands for."""

    array: Values
    axes: tuple[Index, ...]

    def along(self, order: Sequence[Index]) -> Values:
        """Return the array with these axes, of length 1 where it has no such index."""
        kept = [i for i in order if i in self.axes]
        assert len(kept) == len(self.axes), (self.axes, order)
        moved = self.array.transpose([self.axes.index(i) for i in kept])
        return moved.reshape([moved.shape[kept.index(i)] if i in kept else 1 for i in order])


@lru_cache(maxsize=256)
def _function(cls: type[Expr]) -> Callable[..., Values]:
    """Return NumPy's spelling of an elementwise function as a function."""
    row = BY_CLASS[cls]
    letters = [f"a{k}" for k in range(max(row.arity, 1))]
    special = {n: getattr(scipy.special, n) for n in dir(scipy.special) if not n.startswith("_")}
    text = f"lambda {', '.join(letters)}: {row.numpy.format(*letters)}"
    found: Callable[..., Values] = eval(text, {"np": np, **special})  # the text is the table's own
    if cls in (And, Or, Not):
        return lambda *v: found(*(np.asarray(x) != 0 for x in v))
    return found


class Dense:
    """Arrays by name, and the values of expressions in them.

    Args:
        instance: a number for every size and hyper-parameter.
        arrays: an array a tensor, its batch axes in one.
    """

    def __init__(self, instance: Instance, arrays: Mapping[str, Values]) -> None:
        self.instance = instance
        self.arrays: dict[str, Values] = dict(arrays)
        # Of a tensor that has other axes than its statement's: the indices they stand for where it is read plainly.
        self.odd: dict[str, tuple[int | Index, ...]] = {}

    def length(self, index: Index) -> int:
        """Return the number of values of an index."""
        return self.instance.extent(index.size)

    def at(self, expr: Expr, order: Sequence[Index]) -> Values:
        """Return the expression's values, an axis each index of ``order``."""
        named = self.value(expr)
        shape = tuple(map(self.length, order))
        with np.errstate(all="ignore"):
            return np.broadcast_to(named.along(order), shape).astype(float, copy=True)

    def term(self, term: Term, known: dict[tuple[Expr, Expr], Named], changing: frozenset[str]) -> Named:
        """Return the values of a term, with an axis each of its free indices.

        Args:
            term: it.
            known: the values of factors, by atom and exponent, to which those of this term are added.
            changing: names whose arrays are others at another time: what reads them is not remembered.
        """
        parts = [Named(np.asarray(float(term.coefficient)), ())]
        with np.errstate(all="ignore"):
            for pair in term.factors:
                part = known.get(pair)
                if part is None:
                    atom, exponent = pair
                    part = self._value(atom if exponent == 1 else atom**exponent)
                    if not names(atom) & changing:
                        known[pair] = part
                parts.append(part)
            return self.product(parts, term.bound)

    def value(self, expr: Expr) -> Named:
        """Return the expression's values, with an axis each of its free indices."""
        with np.errstate(all="ignore"):
            return self._value(expr)

    def _value(self, expr: Expr) -> Named:
        if isinstance(expr, Element):
            return self._element(expr)
        if isinstance(expr, Padded):
            return self._padded(expr)
        if isinstance(expr, Index):
            return Named(np.arange(self.length(expr)), (expr,))
        if isinstance(expr, Size):
            return Named(np.asarray(self.instance.extent(expr)), ())
        if isinstance(expr, Hyper):
            return Named(np.asarray(self.instance.hypers[expr.name]), ())
        if expr in _CONSTANTS:
            return Named(np.asarray(_CONSTANTS[expr]), ())
        if expr.is_Rational:
            return Named(np.asarray(int(expr) if expr.is_Integer else float(expr)), ())
        if isinstance(expr, Add):
            return self._combined(lambda *v: sum(v[1:], v[0]), *map(self._value, expr.args))
        if isinstance(expr, Mul):
            return self.product([self._value(a) for a in expr.args], ())
        if isinstance(expr, Pow):
            return self._power(expr)
        if isinstance(expr, Delta):
            return self._combined(lambda a, b: (a == b).astype(float), *map(self._value, expr.args))
        if isinstance(expr, Reduction):
            return self._reduction(expr)
        if isinstance(expr, (Softmax, LogSoftmax)):
            return self._normalized(expr)
        if type(expr) in BY_CLASS:
            kind: Any = type(expr)
            return self._combined(_function(kind), *map(self._value, expr.args))
        raise AssertionError(f"diagnose: {type(expr).__name__} in {show(expr)} has no evaluation")

    def _combined(self, function: Callable[..., Values], *parts: Named) -> Named:
        order = tuple(dict.fromkeys(i for part in parts for i in part.axes))
        result = np.asarray(function(*(part.along(order) for part in parts)))
        return Named(result, order) if result.ndim == len(order) else Named(np.broadcast_to(result, ()), ())

    def product(self, parts: Sequence[Named], bound: Sequence[Index]) -> Named:
        """Return ``Σ_bound Π parts``; a bound index that no part has counts its values."""
        order = tuple(dict.fromkeys(i for part in parts for i in part.axes))
        kept = tuple(i for i in order if i not in bound)
        count = np.prod([self.length(i) for i in bound if i not in order], dtype=float)
        if not bound and len(parts) < 3:
            result = self._combined(lambda *v: v[0] if len(v) == 1 else v[0] * v[1], *parts)
            return result
        numbers = {i: k for k, i in enumerate(order)}
        operands: list[Any] = []
        for part in parts:
            operands += [np.asarray(part.array, float), [numbers[i] for i in part.axes]]
        if not parts:
            return Named(np.asarray(count), ())
        spread = np.prod([self.length(i) for i in order], dtype=float)
        array = np.einsum(*operands, [numbers[i] for i in kept], optimize=len(parts) > 2 and bool(spread > _MUCH))
        return Named(array * count if count != 1 else array, kept)

    def _power(self, expr: Pow) -> Named:
        base = self._value(expr.base)
        if expr.exp.is_Rational:
            exponent = int(expr.exp) if expr.exp.is_Integer else float(expr.exp)
            array = np.asarray(base.array, float)
            return Named(np.sqrt(array) if exponent == 0.5 else array**exponent, base.axes)
        if expr.base is S.Exp1:
            return self._combined(np.exp, self._value(expr.exp))
        return self._combined(lambda a, b: np.asarray(a, float) ** b, base, self._value(expr.exp))

    def _subscripts(self, expr: Element) -> tuple[tuple[Index, ...], list[Values]]:
        parts = [self._value(s) for s in expr.subscripts]
        order = tuple(dict.fromkeys(i for part in parts for i in part.axes))
        return order, [np.asarray(part.along(order)).astype(int) for part in parts]

    def _element(self, expr: Element) -> Named:
        array = self.arrays[expr.name]
        places = expr.subscripts
        if expr.name in self.odd:
            axes = tuple(places[a] if isinstance(a, int) else a for a in self.odd[expr.name])
            assert all(isinstance(a, Index) for a in axes)
            return Named(array, axes)
        plain = all(isinstance(s, Index) and self.length(s) == n for s, n in zip(places, array.shape, strict=True))
        if plain and len(set(places)) == len(places):
            return Named(array, places)
        order, at = self._subscripts(expr)
        return Named(array[tuple(at)], order)

    def _padded(self, expr: Padded) -> Named:
        array = self.arrays[expr.element.name]
        order, at = self._subscripts(expr.element)
        inside = np.asarray(True)
        for place, length in zip(at, array.shape, strict=True):
            inside = inside & (place >= 0) & (place < length)
        clipped = tuple(np.clip(place, 0, length - 1) for place, length in zip(at, array.shape, strict=True))
        fill = self._value(expr.fill)
        result = np.where(inside, array[clipped], fill.along(order) if fill.axes else fill.array)
        return Named(result, order)

    def _body(self, body: Expr, indices: Sequence[Index]) -> tuple[Values, tuple[Index, ...], tuple[int, ...]]:
        """Return the body's values with the reduced indices last, the axes before them, and the last axes' numbers."""
        named = self._value(body)
        kept = tuple(i for i in named.axes if i not in indices)
        order = (*kept, *indices)
        shape = tuple(map(self.length, order))
        array = np.broadcast_to(named.along(order), shape)
        return array, kept, tuple(range(len(kept), len(order)))

    def _reduction(self, expr: Reduction) -> Named:
        indices = expr.indices
        if isinstance(expr, (Sum, Mean)):
            parts = [self._value(f) for f in Mul.make_args(expr.body)]
            total = self.product(parts, indices)
            if isinstance(expr, Sum):
                return total
            return Named(total.array / np.prod([self.length(i) for i in indices], dtype=float), total.axes)
        array, kept, last = self._body(expr.body, indices)
        array = np.asarray(array)
        if isinstance(expr, ArgMax):
            return Named(array.reshape((*array.shape[: len(kept)], -1)).argmax(axis=-1), kept)
        if isinstance(expr, LogSumExp):
            return Named(scipy.special.logsumexp(array, axis=last), kept)
        if isinstance(expr, Norm):
            return Named(np.sqrt((np.asarray(array, float) ** 2).sum(axis=last)), kept)
        methods: dict[type, Callable[..., Values]] = {
            Max: np.max, Min: np.min, Prod: np.prod, Var: np.var, Std: np.std,
        }  # fmt: skip
        return Named(methods[type(expr)](array, axis=last), kept)

    def _normalized(self, expr: Softmax | LogSoftmax) -> Named:
        array, kept, last = self._body(expr.body, expr.indices)
        shifted = array - array.max(axis=last, keepdims=True)
        log = shifted - np.log(np.exp(shifted).sum(axis=last, keepdims=True))
        whole = log if isinstance(expr, LogSoftmax) else np.exp(log)
        order = (*kept, *expr.indices)
        if expr.at == expr.indices:
            return Named(whole, order)
        parts = [Named(np.arange(self.length(i)), (i,)) for i in kept] + [self._value(a) for a in expr.at]
        axes = tuple(dict.fromkeys(i for part in parts for i in part.axes))
        return Named(whole[tuple(np.asarray(part.along(axes)).astype(int) for part in parts)], axes)
