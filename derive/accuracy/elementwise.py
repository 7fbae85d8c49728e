"""Elementwise layers: the error of every output and gradient in ulps, over the whole range of the format."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derive.accuracy.points import SPECIAL, cotangents, points, scalars
from derive.accuracy.reference import Exact, keyed
from derive.accuracy.result import Measure, Row, Trace
from derive.accuracy.ulps import FORMATS, Format
from derive.algebra.indices import is_binder
from derive.algebra.nodes import BATCH_SIZE, Kind
from derive.calculus.program import Program
from derive.check.instance import Array, Instance
from derive.check.module import GeneratedModule
from derive.check.sizes import defaults
from derive.language.layer import Layer

__all__ = ["BACKWARD", "FORWARD", "is_elementwise", "measure_elementwise"]

FORWARD, BACKWARD = 4.0, 8.0
"""The largest errors in ulps of outputs and gradients that are normal numbers."""

_SUBNORMAL = 8.0

_Arrays = dict[str, NDArray[Any]]


def is_elementwise(layer: Layer) -> bool:
    """Return whether every number of the output depends on the inputs' numbers at its own place alone."""
    axes = {p.axes for p in layer.parameters if p.axes} | {layer.axes(name) for name in layer.returns}
    plain = all(s.carry is None and s.indices == layer.statements[0].indices for s in layer.statements)
    return axes == {(BATCH_SIZE,)} and plain and not any(_reduces(s.expr) for s in layer.statements)


def _reduces(expr: Any) -> bool:
    return is_binder(expr) or any(map(_reduces, expr.args))


def measure_elementwise(layer: Layer, program: Program, text: str, *, count: int, seed: int) -> Iterator[Row]:
    """Yield the rows of an elementwise layer: its domain, then special values, in both precisions."""
    module = GeneratedModule(layer, text)
    with np.errstate(all="ignore"):
        for form in FORMATS.values():
            yield from _over_domain(layer, program, module, form, count, seed)
        for form in FORMATS.values():
            yield from _at_special_values(layer, program, module, form, seed)


def _run(layer: Layer, module: GeneratedModule, inputs: Mapping[str, Any], given: _Arrays, form: Format) -> _Arrays:
    """Return the outputs, and the gradients of tensors that are no scalars."""
    instance = Instance({}, (), defaults(layer))
    ordered = {p.name: _typed(p.kind, inputs[p.name], form) for p in layer.parameters}
    call = module.run(ordered, given, instance)
    fields = {f"d{p.name}" for p in layer.parameters if p.axes}
    return call.outputs | {name: g for name, g in call.gradients.items() if name in fields}


def _typed(kind: Kind, values: Any, form: Format) -> NDArray[Any]:
    dtypes: dict[Kind, Any] = {Kind.INT: np.int64, Kind.BOOL: np.bool_}
    return np.asarray(values, dtypes.get(kind, form.name))


def _bound(name: str, layer: Layer) -> float:
    return FORWARD if name in layer.returns else BACKWARD


def _over_domain(
    layer: Layer, program: Program, module: GeneratedModule, form: Format, count: int, seed: int
) -> Iterator[Row]:
    inputs: dict[str, Any] = {**points(layer, form, count, seed), **_rounded(scalars(layer), form)}
    length = max(np.size(v) for v in inputs.values())
    given = {f"d{name}": cotangents(length, form, seed) for name in layer.returns}
    exact = _exact(layer, program, length, form)({n: keyed(np.asarray(v)) for n, v in inputs.items()}, _keyed(given))
    got = _run(layer, module, inputs, given, form)
    moving = [p.name for p in layer.parameters if p.axes and p.kind.differentiable]
    for name, values in got.items():
        own = [exact[name][(k,),] for k in range(length)]
        yield _row(name, form, inputs, moving, np.ravel(values), own, _bound(name, layer))


def _exact(layer: Layer, program: Program, length: int, form: Format) -> Exact:
    return Exact(layer, program, Instance({}, (length,), defaults(layer)), form.precision)


def _rounded(values: Mapping[str, float], form: Format) -> dict[str, Any]:
    return {n: float(np.asarray(v, form.name)) if isinstance(v, float) else v for n, v in values.items()}


def _keyed(arrays: _Arrays) -> dict[str, Array]:
    return {name: keyed(values) for name, values in arrays.items()}


def _row(
    name: str,
    form: Format,
    inputs: Mapping[str, Any],
    moving: list[str],
    got: NDArray[Any],
    exact: list[Any],
    bound: float,
) -> Row:
    """Return the worst of the normal results; below them, and beyond the largest number, only gross errors count."""
    at: list[float] = []
    errors: list[float] = []
    worst, place, compared, note = -1.0, 0, 0, ""
    below = 0.0
    for k, (g, e) in enumerate(zip(got.tolist(), exact, strict=True)):
        if e != e:
            continue
        if form.is_normal(e):
            error = form.error(g, e)
            compared += 1
            at.append(float(np.ravel(inputs[moving[0]])[k]))
            errors.append(error)
        elif form.overflows(e):
            error = 0.0 if g == math.copysign(math.inf, e) or abs(g) == form.most else math.inf
        elif abs(e) > form.most:
            continue
        else:
            own = form.error(g, e) if math.isfinite(g) else math.inf
            below = max(below, own)
            error = math.inf if own == math.inf else 0.0
        if error > worst:
            worst, place = error, k
    if below > 0.5:
        note = f"below the normal numbers: {below:.3g} of the smallest number"
    where = ", ".join(f"{n} = {np.ravel(inputs[n])[place].item()!r}" for n in moving)
    trace = Trace(moving[0], tuple(at), tuple(errors))
    measure = Measure("ulp", bound)
    return Row(
        name, form.name, "domain", measure, compared, max(worst, 0.0), where, float(got[place]), float(exact[place]),
        note, trace,
    )  # fmt: skip


def _at_special_values(
    layer: Layer, program: Program, module: GeneratedModule, form: Format, seed: int
) -> Iterator[Row]:
    """Yield rows that count results at 0, the infinities and nan which are not what mathematics has there."""
    moving = [p for p in layer.parameters if p.axes and p.kind.differentiable]
    inputs: dict[str, Any] = {}
    length = len(SPECIAL) * len(moving)
    for number, parameter in enumerate(moving):
        values = np.full(length, 0.75, form.name)
        values[number * len(SPECIAL) : (number + 1) * len(SPECIAL)] = SPECIAL
        inputs[parameter.name] = values
    for parameter in layer.parameters:
        if parameter.axes and not parameter.kind.differentiable:
            inputs[parameter.name] = np.arange(length) % 2 == 0
    inputs |= _rounded(scalars(layer), form)
    given = {f"d{name}": np.ones(length, form.name) for name in layer.returns}
    reference = _exact(layer, program, length, form)
    keyed_inputs = {n: keyed(np.asarray(v)) for n, v in inputs.items()}
    exact, far = (run(keyed_inputs, _keyed(given)) for run in (reference, reference.at_infinity))
    got = _run(layer, module, inputs, given, form)
    infinite = np.any([np.isinf(v) for v in inputs.values() if np.ndim(v)], axis=0)
    for name, values in got.items():
        wrong: list[tuple[int, float, Any]] = []
        for k, g in enumerate(np.ravel(values).tolist()):
            e = (far if infinite[k] else exact)[name][(k,),]
            if not _agree(g, e, form):
                wrong.append((k, g, e))
        where, shown, expected = "", None, None
        if wrong:
            k, shown, e = wrong[0]
            expected = float(e)
            where = ", ".join(f"{p.name} = {inputs[p.name][k].item()!r}" for p in moving)
        measure = Measure("special", 0)
        yield Row(name, form.name, "special values", measure, length, len(wrong), where, shown, expected)


def _agree(got: float, exact: Any, form: Format) -> bool:
    """Whether a result is the exact one, or nan where there is none."""
    if exact != exact:
        return True
    if math.isnan(got):
        return False
    if abs(exact) == math.inf or form.overflows(exact):
        return bool(got == math.copysign(math.inf, exact))
    return form.error(got, exact) <= BACKWARD
