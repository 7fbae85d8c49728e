"""What a user relies on in a generated module beyond its numbers.

The dtype is kept, nothing that is handed over is written to, ``backward`` can
be called again, the strides of an input and the number of batch axes don't
matter, a gradient has its parameter's shape. What it refuses is another file's
(:mod:`derive.check.refusals`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from derive.check.expected import EPS, Expected
from derive.check.instance import Instance
from derive.check.module import GeneratedModule, Inputs, Values, arrays_in, inputs_of
from derive.check.report import Method, Row, failed, holds
from derive.check.samples import Sample
from derive.language.layer import Layer

__all__ = ["is_real", "property_rows"]


def property_rows(layer: Layer, module: GeneratedModule, expected: Expected) -> list[Row]:
    """Return a row for each property, tried in float64 and float32."""
    wrong: dict[str, str] = {}
    for dtype in ("float64", "float32"):
        for text, problem in _properties(layer, module, expected, dtype):
            wrong[text] = wrong.get(text) or (f"{dtype}: {problem}" if problem else "")
    methods = ((Method("code", text, "float64, float32"), problem) for text, problem in wrong.items())
    return [failed(layer.name, m, problem) if problem else holds(layer.name, m) for m, problem in methods]


def _properties(layer: Layer, module: GeneratedModule, expected: Expected, dtype: str) -> Iterable[tuple[str, str]]:
    """Yield each property with what is wrong with it, "" for nothing.

    The same numbers in other places may be added in another order: they may
    differ by what rounding does to the formula, and by 32 roundings at the
    scale of the largest.
    """
    sample, program = expected.sample, expected.program
    limits = expected.allowed(dtype, 32 * EPS[dtype])
    inputs, cotangents = inputs_of(layer, sample, np.dtype(dtype))
    before = _copies((inputs, cotangents))
    outputs, cache = module.forward(inputs, sample.instance)
    kept = _copies((outputs, cache))
    gradients = module.backward(cotangents, cache)
    once = _copies(gradients)
    again = module.backward(cotangents, cache)
    fields = {f"d{p}": inputs[p] for p, _ in program.gradients}
    yield "inputs and cotangents are not modified", _differing(before, _copies((inputs, cotangents)))
    yield "outputs and cache are not modified by backward", _differing(kept, _copies((outputs, cache)))
    yield "backward twice gives the same", _differing(once, _copies(again))
    yield "a gradient for each parameter, in order", "" if [*gradients] == [*fields] else ", ".join(gradients)
    real = {name: value for name, value in {**outputs, **gradients}.items() if is_real(layer, name)}
    yield "dtypes are kept", _wrong_dtypes(real, dtype)
    yield "gradients have the parameters' shapes", _wrong_shapes(gradients, fields)
    strided = {name: _spread(a) for name, a in inputs.items()}
    outputs_aside, cache = module.forward(strided, sample.instance)
    aside = {**outputs_aside, **module.backward({name: _spread(a) for name, a in cotangents.items()}, cache)}
    yield "non-contiguous inputs give the same", _far(aside, {**outputs, **gradients}, limits)
    if module.takes_out:
        yield "gradients are written to the arrays of out", _written(module, cotangents, cache, gradients, limits)
        forward = partial(module.forward, inputs, sample.instance)
        yield "out may share memory with what is read", _overlapping(module, cotangents, forward, gradients, limits)
    if sample.instance.batch:
        flat = _with_batch(layer, sample.instance, inputs, cotangents, (math.prod(sample.instance.batch),))
        deep = _with_batch(layer, sample.instance, inputs, cotangents, (*sample.instance.batch, 1))
        wrong = [
            _far(_rebatched(layer, module, sample, *given), {**outputs, **gradients}, limits) for given in (flat, deep)
        ]
        yield "the number of batch axes does not matter", wrong[0] or wrong[1]
        yield "an empty batch is handled or refused", _empty_batch(layer, module, sample, inputs, cotangents)


def _written(
    module: GeneratedModule,
    cotangents: Inputs,
    cache: Any,
    gradients: Mapping[str, Values],
    limits: Mapping[str, float],
) -> str:
    """Return what is wrong with gradients that are written to arrays, contiguous or not, or to some of them."""
    plain = {name: np.full(np.shape(g), np.nan, np.asarray(g).dtype) for name, g in gradients.items()}
    first = next(iter(plain))
    for given in (
        dict(plain),
        {name: _spread(array) for name, array in plain.items()},
        {name: np.full_like(array, np.nan) if name == first else None for name, array in plain.items()},
    ):
        for out in (given, [*given.values()]):
            result = module.backward_into(cotangents, cache, out)
            elsewhere = [n for n, array in given.items() if array is not None and result[n] is not array]
            if elsewhere:
                return f"{', '.join(elsewhere)} is another array"
            wrong = _far(result, gradients, limits)
            if wrong:
                return wrong
    another_shape = np.empty((*np.shape(gradients[first]), 2), plain[first].dtype)
    for wrong_one in (another_shape, plain[first].astype("float16"), 1.0):
        try:
            module.backward_into(cotangents, cache, {first: wrong_one})
        except ValueError:
            continue
        return f"{first}: {wrong_one!r:.40} was accepted"
    return ""


def _overlapping(
    module: GeneratedModule,
    cotangents: Inputs,
    forward: Callable[[], tuple[dict[str, Values], Any]],
    gradients: Mapping[str, Values],
    limits: Mapping[str, float],
) -> str:
    """Return what is wrong with gradients that are written over a cotangent, or over an array of the cache."""
    for name, gradient in gradients.items():
        for number in range(len(cotangents) + len([*arrays_in(forward()[1])])):
            given = {key: np.array(value) for key, value in cotangents.items()}
            _, cache = forward()
            held = [*given.values(), *arrays_in(cache)][number]
            if (held.shape, held.dtype) != (np.shape(gradient), np.asarray(gradient).dtype) or not held.flags.writeable:
                continue
            original = held.copy()  # the cache may hold an input, which is needed again
            wrong = _far(module.backward_into(given, cache, {name: held}), gradients, limits)
            held[...] = original
            if wrong:
                return wrong
    return ""


def _with_batch(
    layer: Layer, instance: Instance, inputs: Inputs, cotangents: Inputs, batch: tuple[int, ...]
) -> tuple[Inputs, Inputs]:
    """Return the arrays with the elements of the batch along other axes."""
    other = replace(instance, batch=batch)
    return (
        {name: array.reshape(other.shape(layer.axes(name))) for name, array in inputs.items()},
        {name: array.reshape(other.shape(layer.axes(name[1:]))) for name, array in cotangents.items()},
    )


def _empty_batch(layer: Layer, module: GeneratedModule, sample: Sample, inputs: Inputs, cotangents: Inputs) -> str:
    """Return what is wrong with the results for a batch of no elements; a ValueError is a good answer."""
    empty = replace(sample.instance, batch=(0,))

    def cut(arrays: Inputs, strip: int) -> Inputs:
        return {name: np.resize(a, empty.shape(layer.axes(name[strip:]))).astype(a.dtype) for name, a in arrays.items()}

    try:
        call = module.run(cut(inputs, 0), cut(cotangents, 1), empty)
    except ValueError:
        return ""
    for name, value in {**call.outputs, **call.gradients}.items():
        shape = empty.shape(layer.axes(name if name in call.outputs else name[1:]))
        if np.shape(value) != shape:
            return f"{name} has shape {np.shape(value)}, expected {shape}"
        if not np.isfinite(value).all():
            return f"{name} is not finite"
    return ""


def _rebatched(
    layer: Layer, module: GeneratedModule, sample: Sample, inputs: Inputs, cotangents: Inputs
) -> dict[str, Values]:
    """Return outputs and gradients for these arrays, in the sample's shapes where they have the right number."""
    call = module.run(inputs, cotangents, sample.instance)
    result = {}
    for name, value in {**call.outputs, **call.gradients}.items():
        shape = sample.instance.shape(layer.axes(name if name in call.outputs else name[1:]))
        result[name] = np.reshape(value, shape) if np.size(value) == math.prod(shape) else value
    return result


def is_real(layer: Layer, name: str) -> bool:
    """Return whether an output or gradient has real elements, and so the inputs' dtype: an argmax has not."""
    statement = layer.statement(name) if name in layer.returns else None
    return statement is None or statement.kind.differentiable


def _copies(value: Any) -> list[Values]:
    return [array.copy() for array in arrays_in(value)]


def _differing(before: list[Values], after: list[Values]) -> str:
    if len(before) != len(after):
        return f"{len(before)} arrays before, {len(after)} after"
    for number, (a, b) in enumerate(zip(before, after, strict=True)):
        if not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
            return f"array {number} changed"
    return ""


def _wrong_dtypes(values: Mapping[str, Values], dtype: str) -> str:
    wrong = [f"{name} is {np.asarray(v).dtype}" for name, v in values.items() if np.asarray(v).dtype != dtype]
    return ", ".join(wrong)


def _wrong_shapes(gradients: Mapping[str, Values], fields: Mapping[str, Values]) -> str:
    wrong = [
        f"{name} is {np.shape(gradients[name])}, expected {like.shape}"
        for name, like in fields.items()
        if name in gradients and np.shape(gradients[name]) != like.shape
    ]
    return ", ".join(wrong)


def _spread(array: Values) -> Values:
    """Return a view of the same values with every axis reversed and every second element of memory."""
    if array.ndim == 0:
        return array
    wide = np.zeros(tuple(2 * n for n in reversed(array.shape)), array.dtype).T
    view = wide[tuple(slice(None, None, -2) for _ in array.shape)]
    view[...] = array
    return view


def _far(values: Mapping[str, Values], reference: Mapping[str, Values], limits: Mapping[str, float]) -> str:
    """Return what differs by more than its limit."""
    for name, value in values.items():
        if np.shape(value) != np.shape(reference[name]):
            return f"{name} has shape {np.shape(value)}, expected {np.shape(reference[name])}"
        error = float(np.abs(value - reference[name]).max()) if np.size(value) else 0.0
        if not error <= limits[name]:
            return f"{name} is off by {error:.3g}"
    return ""
