"""Inputs of an elementwise layer: magnitudes from the smallest number to the largest, and where functions bend.

Logarithmically spread magnitudes of both signs, an even spread over the range
in which activations bend, the neighbours of whole numbers, and for layers of
several inputs pairs that are nearly equal. All are exact in the format.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from derive.accuracy.ulps import Format
from derive.algebra.nodes import Kind
from derive.language.layer import Layer, Parameter

__all__ = ["SPECIAL", "cotangents", "points"]

Values = NDArray[np.floating]

SPECIAL: tuple[float, ...] = (0.0, -0.0, float("inf"), float("-inf"), float("nan"))


def points(layer: Layer, form: Format, count: int, seed: int) -> dict[str, NDArray[np.generic]]:
    """Return about ``count`` points for each parameter of an elementwise layer, in matching order; scalars have none.

    Args:
        layer: whose parameters they are for.
        form: the format in which they are exact.
        count: how many.
        seed: of their choice.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, NDArray[np.generic]] = {}
    real = [p for p in layer.parameters if p.kind.differentiable and p.axes]
    for number, parameter in enumerate(real):
        values = _spread(parameter, form, count, rng)
        if number:
            rng.shuffle(values)
            near = slice(0, len(values) // 8)  # nearly equal to the first parameter's, of either sign
            first = found[real[0].name][near]
            steps = rng.integers(-3, 4, len(first))
            close = first * (1 + steps * form.epsilon).astype(form.name) * rng.choice([-1, 1], len(first))
            values[near] = _allowed(parameter, close.astype(form.name), form)
        found[parameter.name] = values
    length = len(next(iter(found.values()))) if found else count
    for parameter in layer.parameters:
        if parameter.kind is Kind.BOOL and parameter.axes:
            found[parameter.name] = rng.random(length) < 0.5
        elif parameter.kind is Kind.INT and parameter.axes:
            found[parameter.name] = rng.integers(-2, 3, length)
    return found


def cotangents(length: int, form: Format, seed: int) -> Values:
    """Return numbers of size 1 to 2 and either sign."""
    rng = np.random.default_rng([seed, 1])
    return (rng.uniform(1, 2, length) * rng.choice([-1, 1], length)).astype(form.name)


def scalars(layer: Layer) -> Mapping[str, float]:
    """Return a value for every scalar parameter."""
    values = {Kind.REAL: 0.3, Kind.POSITIVE: 0.7, Kind.UNIT: 0.3, Kind.INT: 2, Kind.BOOL: 1}
    return {p.name: values[p.kind] for p in layer.parameters if not p.axes}


def _spread(parameter: Parameter, form: Format, count: int, rng: np.random.Generator) -> Values:
    low, high = np.log2(form.smallest), np.log2(form.most)
    wide = np.exp2(rng.uniform(low, np.nextafter(high, 0), count // 4)) * rng.uniform(1, 1.0, count // 4)
    middle = np.exp2(rng.uniform(-24, 12, count // 4))
    even = rng.uniform(0, 20, count // 4)
    # as far as exp(-x) is a number
    edge = rng.uniform(0, -np.log(form.smallest) * 1.05, max(count - 3 * (count // 4) - 24, 8))
    whole = np.array([1, 2, 3, 6, 0.5, 0.25, 20, 10], form.name)
    near = np.concatenate([np.nextafter(whole, np.float32(0)), whole, np.nextafter(whole, np.float32(np.inf))])
    sizes = np.concatenate([wide, middle, even, edge, near]).astype(form.name)
    signed = sizes * np.where(np.arange(len(sizes)) % 2, -1, 1).astype(form.name)
    return _allowed(parameter, signed, form)


def _allowed(parameter: Parameter, values: Values, form: Format) -> Values:
    """Return the values brought into the domain of the parameter's kind."""
    if parameter.kind is Kind.POSITIVE:
        return np.abs(values)
    if parameter.kind is Kind.UNIT:
        small = np.abs(values)
        small = np.where(small > 0.5, np.asarray(0.5, form.name) / np.maximum(small, 1), small)
        below_one = np.nextafter(np.asarray(1, form.name), np.asarray(0, form.name))
        return np.where(values < 0, np.minimum(1 - small, below_one), small).astype(form.name)
    return values
