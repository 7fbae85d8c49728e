"""What a generated module takes and what it refuses.

Shapes that don't fit one another are a ``ValueError``, for inputs and for
cotangents. Sizes and hyper-parameters are one exactly where they break a
condition of the layer (``P = (H + 2*pad - R) // stride + 1 is at least 1``), on
both sides of the bound. The keywords of ``forward`` have the layer's defaults.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

import numpy as np

from derive.algebra.nodes import BATCH_SIZE, Kind
from derive.check.instance import Instance
from derive.check.module import GeneratedModule, Inputs, Values, inputs_of
from derive.check.report import Method, Row, failed, holds
from derive.check.samples import Sample
from derive.check.sizes import allowed, completed, defaults, fits
from derive.language.layer import Layer

__all__ = ["refusal_rows"]

_LARGE = 40  # sizes and integers up to here are tried


def refusal_rows(layer: Layer, module: GeneratedModule, samples: Sequence[Sample]) -> list[Row]:
    """Return a row for what is taken and refused, for the defaults, and for bounds where there are conditions.

    Args:
        layer: as the user wrote it.
        module: made from it.
        samples: bounds are tried around all, shapes at the first.
    """
    first = samples[0]
    inputs, cotangents = inputs_of(layer, first, np.float64)
    problems = {"other shapes are refused": next(_taken(layer, module, first, inputs, cotangents), "")}
    if layer.hypers:
        problems["hyper-parameters have the layer's defaults"] = _other_defaults(layer, module)
    if layer.conditions:
        found = (p for at in samples for p in _unbound(layer, module, at.instance, inputs_of(layer, at, np.float64)[0]))
        problems["sizes and hyper-parameters are refused exactly where they are out of bounds"] = next(found, "")
    methods = ((Method("code", text, "float64"), problem) for text, problem in problems.items())
    return [failed(layer.name, m, problem) if problem else holds(layer.name, m) for m, problem in methods]


def _unbound(layer: Layer, module: GeneratedModule, instance: Instance, inputs: Inputs) -> Iterator[str]:
    """Yield what is wrong at the bounds of sizes and hyper-parameters.

    One size or one hyper-parameter runs. Of two neighbours, one of which breaks
    a condition, that one has to be a ValueError and the other must not be.
    """
    runs = [
        [replace(instance, hypers={**instance.hypers, h.name: n}) for n in range(-1, _LARGE)]
        for h in layer.hypers
        if h.kind is Kind.INT
    ]
    runs += [
        [replace(instance, sizes={**instance.sizes, size.name: n}) for n in range(1, _LARGE)]
        for size in layer.sizes
        if size != BATCH_SIZE
    ]
    for run in runs:
        fine = [allowed(layer, at) for at in run]
        for k, at in enumerate(run):
            if all(other == fine[k] for other in (*fine[max(k - 1, 0) : k], *fine[k + 1 : k + 2])):
                continue
            other = at
            with suppress(ZeroDivisionError, ValueError):
                other = completed(layer, at)
            given = _of_sizes(layer, other, inputs)
            if given is None:
                continue
            call = partial(module.forward, given, other)
            problem = _trouble(call) if fine[k] else _refusal(call)
            if problem:
                yield f"{other}, {other.hypers}: {problem}"


def _other_defaults(layer: Layer, module: GeneratedModule) -> str:
    """Return how forward's keywords and their defaults differ from the layer's hyper-parameters."""
    parameters = inspect.signature(module.names["forward"]).parameters.values()
    found = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    expected = defaults(layer)
    return "" if found == expected else f"{found}, expected {expected}"


def _of_sizes(layer: Layer, instance: Instance, inputs: Inputs) -> Inputs | None:
    """Return the inputs repeated to other sizes, labels 0; None where a size of theirs is negative."""
    shapes = {p.name: instance.shape(p.axes) for p in layer.parameters}
    if any(length < 0 for shape in shapes.values() for length in shape):
        return None
    return {
        name: np.zeros(shapes[name], a.dtype) if a.dtype.kind == "i" else np.resize(a, shapes[name]).astype(a.dtype)
        for name, a in inputs.items()
    }


def _trouble(call: Callable[[], object]) -> str:
    """Return what a call raises that should give a result.

    A formula that divides sizes and constants by 0 there, ``p/(A - 1)``, has none.
    """
    try:
        call()
    except ZeroDivisionError:
        return ""
    except Exception as error:  # whatever it raises is the finding
        return f"expected a result, got {type(error).__name__}: {error}"
    return ""


def _taken(layer: Layer, module: GeneratedModule, sample: Sample, inputs: Inputs, cotangents: Inputs) -> Iterator[str]:
    """Yield what should be a ValueError and is not: arrays whose shapes don't fit those of the others."""
    for name, array in inputs.items():
        for other in _misshapen(array):
            given = {**inputs, name: other}
            if not fits(layer, sample.instance, {n: a.shape for n, a in given.items()}):
                problem = _refusal(partial(module.forward, given, sample.instance))
                if problem:
                    yield f"{name} of shape {other.shape}: {problem}"
    _, cache = module.forward(inputs, sample.instance)
    for name, array in cotangents.items():
        for other in _misshapen(array):
            problem = _refusal(partial(module.backward, {**cotangents, name: other}, cache))
            if problem:
                yield f"{name} of shape {other.shape}: {problem}"


def _misshapen(array: Values) -> Iterator[Values]:
    """Yield the array with one more element along each axis, and with one more axis."""
    for axis in range(array.ndim):
        yield np.pad(array, [(0, int(axis == k)) for k in range(array.ndim)], mode="edge")
    yield np.stack([array, array])


def _refusal(call: Callable[[], object]) -> str:
    """Return what is wrong with how a call is refused."""
    try:
        call()
    except ValueError:
        return ""
    except Exception as error:  # whatever it raises is the finding
        return f"expected a ValueError, got {type(error).__name__}: {error}"
    return "expected a ValueError, got none"
