"""The reductions of the language, as the textbook defines them, on a list of numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy

from derive.algebra.functions import BY_CLASS
from derive.algebra.nodes import (
    ArgMax,
    LogSoftmax,
    LogSumExp,
    Max,
    Mean,
    Min,
    Norm,
    Prod,
    SafeSoftmax,
    Softmax,
    Std,
    Sum,
    Var,
)

__all__ = ["KEEPING", "REDUCTIONS"]

Number = Any


def _mean(mp: Any, values: list[Number]) -> Number:
    return mp.fsum(values) / len(values)


def _variance(mp: Any, values: list[Number]) -> Number:
    mean = _mean(mp, values)
    return _mean(mp, [(v - mean) ** 2 for v in values])


def _log(mp: Any, x: Number) -> Number:
    return BY_CLASS[sympy.log].mp(mp, x)


def _extreme(choose: Callable[[list[Number]], Number]) -> Callable[[Any, list[Number]], Number]:
    def extreme(mp: Any, values: list[Number]) -> Number:
        return mp.nan if any(v != v for v in values) else choose(values)

    return extreme


def _product_of(mp: Any, values: list[Number]) -> Number:
    result = mp.mpf(1)
    for value in values:
        result = result * value
    return result


def _softmax(mp: Any, values: list[Number]) -> list[Number]:
    powers = [mp.exp(v) for v in values]
    total = mp.fsum(powers)
    return [p / total if total != 0 else mp.nan for p in powers]


def _safe_softmax(mp: Any, values: list[Number]) -> list[Number]:
    return [mp.mpf(0) for _ in values] if all(v == mp.ninf for v in values) else _softmax(mp, values)


def _log_softmax(mp: Any, values: list[Number]) -> list[Number]:
    total = _log(mp, mp.fsum([mp.exp(v) for v in values]))
    return [v - total for v in values]


REDUCTIONS: dict[type, Callable[[Any, list[Number]], Number]] = {
    Sum: lambda mp, v: mp.fsum(v),
    Mean: _mean,
    Prod: _product_of,
    Max: _extreme(max),
    Min: _extreme(min),
    Var: _variance,
    Std: lambda mp, v: mp.sqrt(_variance(mp, v)),
    LogSumExp: lambda mp, v: _log(mp, mp.fsum([mp.exp(x) for x in v])),
    Norm: lambda mp, v: mp.sqrt(mp.fsum([x * x for x in v])),
    ArgMax: _extreme(lambda values: values.index(max(values))),
}

KEEPING: dict[type, Callable[[Any, list[Number]], list[Number]]] = {
    Softmax: _softmax,
    SafeSoftmax: _safe_softmax,
    LogSoftmax: _log_softmax,
}
