"""One row of the table of cases, and how the values of its tensors are drawn."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from derive.algebra.nodes import BATCH_SIZE, Kind
from derive.language.layer import Layer, Parameter

Array = NDArray[np.generic]
Draw = Callable[[np.random.Generator, tuple[int, ...], "Case"], Array]


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        layer: the catalogue's name.
        sizes: elements along each of the layer's sizes.
        batch: the shape of the axes that ``...`` stands for.
        hypers: hyper-parameters that differ from their defaults.
        draw: how to draw parameters that are not just normal numbers.
        scale: factor on the real parameters that are drawn normally.
        terms: size of the terms that cancel where functions saturate, so that a gradient is far smaller or 0;
            errors are measured against at least this.
        vanishing: parameters whose gradient is zero mathematically, so that only rounding is left of it.
        id: what sets the row apart from others of the layer.
    """

    layer: str
    sizes: Mapping[str, int] = field(default_factory=dict)
    batch: tuple[int, ...] = ()
    hypers: Mapping[str, float] = field(default_factory=dict)
    draw: Mapping[str, Draw] = field(default_factory=dict)
    scale: float = 1.0
    terms: float = 0.0
    vanishing: tuple[str, ...] = ()
    id: str = ""

    def __str__(self) -> str:
        return f"{self.layer}-{self.id}" if self.id else self.layer

    def shape(self, parameter: Parameter) -> tuple[int, ...]:
        """Return the shape of a parameter in this row."""
        shape: list[int] = []
        for axis in parameter.axes:
            if axis == BATCH_SIZE:
                shape.extend(self.batch)
            else:
                shape.append(int(axis) if axis.is_Integer else self.sizes[axis.name])
        return tuple(shape)

    def inputs(self, layer: Layer, dtype: str = "float64") -> dict[str, Array]:
        """Return arrays for the parameters, the same ones each time; reals are of ``dtype``."""
        rng = np.random.default_rng(zlib.crc32(str(self).encode()))
        arrays: dict[str, Array] = {}
        for p in layer.parameters:
            draw = self.draw.get(p.name) or BY_KIND[p.kind]
            array = np.asarray(draw(rng, self.shape(p), self))
            arrays[p.name] = array.astype(dtype) if p.kind.differentiable else array
        return arrays


def sizes(**elements: int) -> Mapping[str, int]:
    """Elements along each size."""
    return elements


def normal(rng: np.random.Generator, shape: tuple[int, ...], case: Case) -> Array:
    return case.scale * rng.standard_normal(shape)


def positive(rng: np.random.Generator, shape: tuple[int, ...], case: Case) -> Array:
    return rng.uniform(0.3, 2.0, shape)


def unit(rng: np.random.Generator, shape: tuple[int, ...], case: Case) -> Array:
    return rng.uniform(0.05, 0.95, shape)


def boolean(rng: np.random.Generator, shape: tuple[int, ...], case: Case) -> Array:
    return np.asarray(rng.random(shape) < 0.6)


def binary(rng: np.random.Generator, shape: tuple[int, ...], case: Case) -> Array:
    return rng.integers(0, 2, shape)


def signs(rng: np.random.Generator, shape: tuple[int, ...], case: Case) -> Array:
    return 2 * rng.integers(0, 2, shape) - 1


def counts(rng: np.random.Generator, shape: tuple[int, ...], case: Case) -> Array:
    return rng.poisson(2.0, shape)


def distribution(rng: np.random.Generator, shape: tuple[int, ...], case: Case) -> Array:
    p = rng.uniform(0.1, 1.0, shape)
    return p / p.sum(-1, keepdims=True)


def log_distribution(rng: np.random.Generator, shape: tuple[int, ...], case: Case) -> Array:
    return np.log(distribution(rng, shape, case))


def times(factor: float) -> Draw:
    """Normal numbers times a factor of their own."""
    return lambda rng, shape, case: factor * rng.standard_normal(shape)


def around(center: float) -> Draw:
    """Normal numbers around a value far from zero."""
    return lambda rng, shape, case: center + rng.standard_normal(shape)


def labels(size: str) -> Draw:
    """Labels of an axis: integers from 0 to below its size."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...], case: Case) -> Array:
        return rng.integers(0, case.sizes[size], shape)

    return draw


def mask(rng: np.random.Generator, shape: tuple[int, ...], case: Case) -> Array:
    """Truth values, at least one true in each row."""
    kept = rng.random(shape) < 0.6
    kept[..., 0] = True
    return np.asarray(kept)


def loops(rng: np.random.Generator, shape: tuple[int, ...], case: Case) -> Array:
    """An adjacency matrix with self-loops."""
    return np.asarray((rng.random(shape) < 0.4) | np.eye(*shape, dtype=bool))


def pairs(rng: np.random.Generator, shape: tuple[int, ...], case: Case) -> Array:
    """Labels of which each occurs at least twice."""
    return rng.permutation(np.arange(shape[0]) // 2 % max(shape[0] // 2, 1))


def unit_rows(rng: np.random.Generator, shape: tuple[int, ...], case: Case) -> Array:
    """Vectors of length 1."""
    x = rng.standard_normal(shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


BY_KIND: dict[Kind, Draw] = {
    Kind.REAL: normal,
    Kind.POSITIVE: positive,
    Kind.UNIT: unit,
    Kind.BOOL: boolean,
}
