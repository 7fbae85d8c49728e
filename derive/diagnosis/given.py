"""Arrays that somebody has: gradients at inputs of their own, instead of code that can be called."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sympy import Expr, Integer

from derive.algebra.nodes import BATCH_SIZE, Size
from derive.algebra.text import show
from derive.check.instance import Array, Instance
from derive.check.samples import Sample
from derive.check.sizes import allowed, completed, defaults
from derive.diagnosis.code import Answer, as_array
from derive.diagnosis.dense import Values
from derive.diagnosis.experiment import Experiment
from derive.diagnosis.forms import Derivation
from derive.diagnosis.layout import Layout
from derive.diagnosis.signature import Vocabulary, named_results
from derive.errors import DeriveError, ShapeError
from derive.language.layer import Layer

__all__ = ["GivenArrays", "given_experiment"]


@dataclass(frozen=True)
class GivenArrays:
    """Gradients as arrays, in the place of code.

    Attributes:
        derived: what they are compared with.
        gradients: by name, or in order.
        title: what they are called in messages.
    """

    derived: Derivation
    gradients: Any
    title: str = "the gradients"

    def layout(self, name: str) -> Layout | None:
        """Return None: arrays have the layer's shapes."""
        return None

    def run(self, experiment: Experiment, dtype: type = np.float64, *, calls: int = 1) -> list[Answer]:
        """Return the arrays, as if a call had given them."""
        found = named_results(self.gradients, Vocabulary(self.derived), None, None)
        return [Answer({s: as_array(v) for s, v in found.items()})] * calls


def given_experiment(
    derived: Derivation,
    inputs: Mapping[str, Any],
    cotangents: Mapping[str, Any] | None,
    hypers: Mapping[str, Any] | None,
) -> Experiment:
    """Return the experiment at somebody's own inputs.

    Args:
        derived: the derivation.
        inputs: an array of every parameter, by name.
        cotangents: an array of every output's cotangent, by its name (``dy``); 1 where a scalar's is left out.
        hypers: values of hyper-parameters; those left out have their defaults.

    Raises:
        DeriveError: an array is missing, or is none of the layer's.
        ShapeError: the shapes do not go together.
    """
    layer = derived.layer
    found = {p.name: _taken(inputs, p.name, "the parameter") for p in layer.parameters}
    for name in inputs:
        if name not in found:
            raise DeriveError(
                f"'{name}' is no parameter of layer '{layer.name}'", hint=f"parameters: {', '.join(found)}"
            )
    instance = _instance(layer, found, {**defaults(layer), **(hypers or {})})
    handed: dict[str, Values] = {}
    for output, name in derived.cotangents.items():
        given = (cotangents or {}).get(name, 1.0 if not layer.axes(output) else None)
        if given is None:
            raise DeriveError(
                f"the cotangent {name} is missing", hint=f"cotangents={{'{name}': …}}, of the shape of {output}"
            )
        handed[output] = as_array(given).astype(float)
    arrays = {p.name: _keyed(found[p.name], p.axes, instance, p.name) for p in layer.parameters}
    cotangent_arrays = {f"d{o}": _keyed(v, layer.axes(o), instance, f"d{o}") for o, v in handed.items()}
    return Experiment(derived, Sample(instance, arrays, cotangent_arrays, math.inf, math.inf))


def _taken(inputs: Mapping[str, Any], name: str, what: str) -> Values:
    if name not in inputs:
        raise DeriveError(f"{what} {name} is missing", hint=f"inputs={{'{name}': …}} gives it")
    return as_array(inputs[name])


def _instance(layer: Layer, arrays: Mapping[str, Values], hypers: Mapping[str, Any]) -> Instance:
    """Return the sizes that the shapes of the parameters give."""
    sizes: dict[str, int] = {}
    batch: tuple[int, ...] = ()
    for p in layer.parameters:
        shape, axes = arrays[p.name].shape, p.axes
        if BATCH_SIZE in axes:
            batch, shape, axes = shape[: len(shape) - len(axes) + 1], shape[len(shape) - len(axes) + 1 :], axes[1:]
        if len(shape) == len(axes):
            for axis, length in zip(axes, shape, strict=True):
                if isinstance(axis, Size):
                    sizes.setdefault(axis.name, length)
    missing = [s.name for s in layer.sizes if s != BATCH_SIZE and s.name not in sizes]
    if missing:
        raise ShapeError(f"the shapes of the inputs do not tell the size {', '.join(missing)}")
    computed = {d.size.name for d in layer.derived}
    instance = Instance({n: v for n, v in sizes.items() if n not in computed}, batch, dict(hypers))
    if not allowed(layer, instance):
        raise ShapeError(f"the sizes {instance} are none of the layer's")
    return completed(layer, instance)


def _keyed(array: Values, axes: Sequence[Expr], instance: Instance, name: str) -> Array:
    expected = instance.shape(axes)
    if array.shape != expected:
        letters = ", ".join(show(a) if not isinstance(a, Integer) else str(a) for a in axes)
        raise ShapeError(f"{name} has the shape {array.shape}, expected ({letters}) = {expected}")
    flat = array.astype(float) if array.dtype.kind == "f" else array.astype(int)
    return {key: flat[Instance.position(key)].item() for key in instance.keys(axes)}
