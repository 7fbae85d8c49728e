"""Elementwise layers: the error of every output and gradient in ulps, over the whole range of the format."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derive.accuracy.neighbours import explained
from derive.accuracy.points import SPECIAL, cotangents, points, scalars
from derive.accuracy.reference import Exact, keyed
from derive.accuracy.result import Measure, Row, Trace
from derive.accuracy.ulps import FORMATS, Format
from derive.algebra.nodes import Kind
from derive.calculus.program import Program
from derive.check.instance import Array, Instance
from derive.check.module import GeneratedModule
from derive.check.sizes import defaults
from derive.language.layer import Layer

__all__ = ["BACKWARD", "FORWARD", "measure_elementwise"]

FORWARD, BACKWARD = 4.0, 8.0
"""The largest errors in ulps of outputs and gradients that are normal numbers."""

_AT_ONCE = 12

_Arrays = dict[str, NDArray[Any]]


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
    exact = _exact(layer, program, length, form)(_keyed(inputs), _keyed(given))
    got = _run(layer, module, inputs, given, form)
    moving = [p.name for p in layer.parameters if p.axes and p.kind.differentiable]
    for name, values in got.items():
        bound = _bound(name, layer)
        errors = [_Error.of(form, g, exact[name][(k,),]) for k, g in enumerate(np.ravel(values).tolist())]
        beside = _explained(layer, program, name, inputs, given, errors, bound, moving, form)
        yield _row(
            name, form, inputs, moving, errors, [k for k in range(length) if k not in beside], Measure("ulp", bound)
        )
        if beside:
            row = _row(name, form, inputs, moving, errors, list(beside), Measure("ulp", None))
            note = "; ".join(dict.fromkeys(beside.values()))
            yield replace(row, inputs="exceptions", note=note, trace=None)


def _explained(
    layer: Layer,
    program: Program,
    name: str,
    inputs: Mapping[str, Any],
    given: _Arrays,
    errors: list[_Error],
    bound: float,
    moving: list[str],
    form: Format,
) -> dict[int, str]:
    """The places beyond the bound where no arithmetic keeps it, and why; the search ends where one is none."""
    wrong = sorted((k for k, e in enumerate(errors) if e.ulps > bound), key=lambda k: -errors[k].ulps)
    beside: dict[int, str] = {}
    while wrong:
        chosen, wrong = wrong[:_AT_ONCE], wrong[_AT_ONCE:]
        here = {n: v[chosen] if np.ndim(v) else v for n, v in inputs.items()}
        there = {n: v[chosen] for n, v in given.items()}
        found = explained(layer, program, name, here, there, [errors[k].ulps / bound for k in chosen], moving, form)
        beside |= {chosen[k]: why for k, why in found.items()}
        if len(found) < len(chosen):
            break
    return beside


def _exact(layer: Layer, program: Program, length: int, form: Format) -> Exact:
    return Exact(layer, program, Instance({}, (length,), defaults(layer)), form.precision)


def _rounded(values: Mapping[str, float], form: Format) -> dict[str, Any]:
    return {n: float(np.asarray(v, form.name)) if isinstance(v, float) else v for n, v in values.items()}


def _keyed(arrays: Mapping[str, Any]) -> dict[str, Array]:
    return {name: keyed(np.asarray(values)) for name, values in arrays.items()}


@dataclass(frozen=True, slots=True)
class _Error:
    """The error of one result.

    Attributes:
        got, exact: the result.
        ulps: its error where it is a normal number; elsewhere 0, or inf where it is grossly wrong.
        below: its error in smallest numbers where it is below the normal numbers.
        normal: whether it is a normal number.
    """

    got: float
    exact: float
    ulps: float
    below: float = 0.0
    normal: bool = False

    @classmethod
    def of(cls, form: Format, got: float, exact: Any) -> _Error:
        shown = float(exact)
        if exact != exact:
            return cls(got, shown, 0.0)
        if form.is_normal(exact):
            return cls(got, shown, form.error(got, exact), normal=True)
        if form.overflows(exact):
            right = got == math.copysign(math.inf, exact) or abs(got) == form.most
            return cls(got, shown, 0.0 if right else math.inf)
        if abs(exact) > form.most:
            return cls(got, shown, 0.0)
        below = form.error(got, exact)
        return cls(got, shown, math.inf if below == math.inf else 0.0, below)


def _row(
    name: str,
    form: Format,
    inputs: Mapping[str, Any],
    moving: list[str],
    errors: list[_Error],
    places: list[int],
    measure: Measure,
) -> Row:
    """Return the worst of the results at some places, and what is lost below the normal numbers."""
    own = [(k, errors[k]) for k in places]
    place, worst = max(own, key=lambda pair: pair[1].ulps)
    below = max(e.below for _, e in own)
    note = f"below the normal numbers: {below:.3g} of the smallest number" if below > 1 else ""
    normal = [(k, e) for k, e in own if e.normal]
    first = np.ravel(inputs[moving[0]])
    trace = Trace(moving[0], tuple(float(first[k]) for k, _ in normal), tuple(e.ulps for _, e in normal))
    where = ", ".join(f"{n} = {np.ravel(inputs[n])[place].item()!r}" for n in moving)
    return Row(
        name, form.name, "domain", measure, len(normal), worst.ulps, where, worst.got, worst.exact, note, trace
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
    exact, far = (run(_keyed(inputs), _keyed(given)) for run in (reference, reference.at_infinity))
    got = _run(layer, module, inputs, given, form)
    infinite = np.any([np.isinf(v) for v in inputs.values() if np.ndim(v)], axis=0)
    unknown = np.any([np.isnan(v) for v in inputs.values() if np.ndim(v)], axis=0)
    for name, values in got.items():
        wrong: list[tuple[int, float, Any]] = []
        undetermined: list[str] = []
        for k, g in enumerate(np.ravel(values).tolist()):
            e = (far if infinite[k] else exact)[name][(k,),]
            if math.isnan(g) if unknown[k] and e != e else _agree(g, e, form) or (unknown[k] and math.isnan(g)):
                continue
            here = ", ".join(f"{p.name} = {inputs[p.name][k].item()!r}" for p in moving)
            if infinite[k] and math.isnan(g):
                undetermined.append(f"{here} (limit {float(e):g})")
            else:
                wrong.append((k, g, e))
        where, shown, expected = "", None, None
        if wrong:
            k, shown, e = wrong[0]
            expected = float(e)
            where = ", ".join(f"{p.name} = {inputs[p.name][k].item()!r}" for p in moving)
        note = f"nan, 0*inf or inf - inf, at {'; '.join(undetermined)}" if undetermined else ""
        measure = Measure("special", 0)
        yield Row(name, form.name, "special values", measure, length, len(wrong), where, shown, expected, note)


def _agree(got: float, exact: Any, form: Format) -> bool:
    """Whether a result is the exact one, or anything where there is none."""
    if exact != exact:
        return True
    if math.isnan(got):
        return False
    if abs(exact) == math.inf or form.overflows(exact):
        return bool(got == math.copysign(math.inf, exact))
    return form.error(got, exact) <= BACKWARD
