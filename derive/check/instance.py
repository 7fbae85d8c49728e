"""Numbers for the sizes of a layer, and the positions they give.

A position is a tuple of subscripts, one an index. ``BATCH`` is one index to a
formula and any number of axes in an array, so its subscript is itself a tuple:
``x[(0, 2), 4]`` is the element ``x[0, 2, 4]`` of an array ``[..., D]`` whose
batch has two axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from sympy import Add, Expr, Integer, Mul, Pow

from derive.algebra.functions import Ceil, Floor, FloorDiv, Maximum, Minimum, Mod
from derive.algebra.nodes import BATCH_SIZE, Hyper, Index, Size
from derive.algebra.text import show

__all__ = ["Array", "Instance", "Key"]

Key = tuple[Any, ...]
Array = Mapping[Key, Any]


@dataclass(frozen=True, slots=True)
class Instance:
    """A number for every size and hyper-parameter, and the shape of the batch.

    Attributes:
        sizes: elements along every named size, derived ones included.
        batch: lengths of the axes that ``...`` stands for; () for none.
        hypers: value of every hyper-parameter.
    """

    sizes: Mapping[str, int]
    batch: tuple[int, ...]
    hypers: Mapping[str, int | float | bool]

    def __str__(self) -> str:
        """Return ``N = 3, D = 4, ... = (2, 3)``."""
        parts = [f"{name} = {size}" for name, size in self.sizes.items()]
        return ", ".join([*parts, f"... = {self.batch}"] if self.batch else parts)

    def extent(self, size: Expr) -> int:
        """Return the number that a size, or an expression of sizes and hyper-parameters, stands for."""
        if isinstance(size, Integer):
            return int(size)
        if size == BATCH_SIZE:
            return prod(self.batch)
        if isinstance(size, Size):
            return self.sizes[size.name]
        value = self._number(size)
        if value != int(value):
            raise ValueError(f"{show(size)} = {value} is no whole number")
        return int(value)

    def _number(self, expr: Expr) -> Any:
        if isinstance(expr, (Integer, Size)):
            return self.extent(expr)
        if isinstance(expr, Hyper):
            return self.hypers[expr.name]
        args = [self._number(arg) for arg in expr.args]
        match expr:
            case Add():
                return sum(args)
            case Mul():
                return prod(args)
            case Pow():
                return args[0] ** args[1]
            case FloorDiv():
                return args[0] // args[1]
            case Mod():
                return args[0] % args[1]
            case Maximum():
                return max(args)
            case Minimum():
                return min(args)
            case Floor():
                return args[0] // 1
            case Ceil():
                return -(-args[0] // 1)
        if expr.is_Rational:
            return expr.p / expr.q
        raise AssertionError(f"check: no size can be {show(expr)}")

    def values(self, index: Index) -> Sequence[Any]:
        """Return the values that an index takes, in order: numbers, or tuples for ``BATCH``."""
        return self._subscripts(index.size)

    def _subscripts(self, size: Expr) -> Sequence[Any]:
        if size == BATCH_SIZE:
            return list(product(*map(range, self.batch)))
        return range(self.extent(size))

    def keys(self, axes: Sequence[Expr]) -> list[Key]:
        """Return every position of a tensor with these axes, in C order."""
        return list(product(*map(self._subscripts, axes)))

    def shape(self, axes: Sequence[Expr]) -> tuple[int, ...]:
        """Return the shape of the array: ``BATCH_SIZE`` becomes the axes of the batch."""
        shape: list[int] = []
        for size in axes:
            if size == BATCH_SIZE:
                shape += self.batch
            else:
                shape.append(self.extent(size))
        return tuple(shape)

    @staticmethod
    def position(key: Key) -> tuple[int, ...]:
        """Return the place in the array: the subscript of ``BATCH`` spread over its axes."""
        place: list[int] = []
        for subscript in key:
            if isinstance(subscript, tuple):
                place += subscript
            else:
                place.append(subscript)
        return tuple(place)
