"""Check the further functions: Jacobian-vector products and second derivatives.

Each is compared at random arguments. The formulas, in multiprecision, with
central differences: ``jvp`` with those of the layer as it was written,
``double_backward`` with those of ``Σ ⟨ddx, dx⟩`` and ``hvp`` with those of the
gradients, both of which :mod:`derive.check.formulas` has compared with the
layer. The code, in float64 and float32, with the formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

import numpy as np

from derive.calculus.program import Pass, Program
from derive.check.contexts import floats, multiprecision
from derive.check.demand import CircularError
from derive.check.evaluate import Evaluator, numbers
from derive.check.expected import EPS
from derive.check.instance import Array, Instance
from derive.check.module import GeneratedModule, Values, dense, inputs_of
from derive.check.probes import Probe, place
from derive.check.report import CODE_VALUES, FORMULA_DIFFERENCES, FORMULA_VALUES, Row, failed, worst
from derive.check.samples import Sample
from derive.language.layer import Layer

__all__ = ["check_pass_code", "check_pass_formulas"]

_STEP = "1e-18"
_TOLERANCE = "1e-24"  # as of the gradients: differences are right to some 30 digits


def check_pass_formulas(layer: Layer, program: Program, sample: Sample, seed: int) -> list[Row]:
    """Compare the formulas of every further function with differences.

    Returns:
        A row for each result.
    """
    rows: list[Row] = []
    for function in program.passes:
        given = _given(function, layer, sample, seed)
        check = {"jvp": _tangents, "double_backward": _second, "hvp": _products}[function.name]
        try:
            values = _values(program, function, sample, given, multiprecision())
            rows += check(layer, program, function, sample, given, values, seed)
        except (IndexError, CircularError) as error:
            if not _empty(sample):
                rows.append(failed(function.name, FORMULA_VALUES, f"{error} ({sample.instance})"))
    return rows


def _empty(sample: Sample) -> bool:
    """Return whether an axis has no elements, so that what a formula reads at a place need not be there."""
    return 0 in sample.instance.sizes.values()


def check_pass_code(
    layer: Layer, program: Program, text: str | Mapping[str, str], sample: Sample, seed: int
) -> list[Row]:
    """Compare what the module's further functions return with the formulas, in float64 and float32."""
    module = GeneratedModule(layer, text)
    rows: list[Row] = []
    for function in program.passes:
        given = _given(function, layer, sample, seed)
        try:
            exact = _values(program, function, sample, given, multiprecision())
        except (IndexError, CircularError):
            continue  # the formulas' rows say so, where it is a fault
        noisy = [_values(program, function, sample, given, floats(), Random(f"{k} {seed}")) for k in range(2)]
        for dtype in ("float64", "float32"):
            try:
                with np.errstate(all="ignore"):
                    got = _run(module, layer, program, function, sample, given, dtype)
            except ValueError as error:
                if not _empty(sample):  # a good answer to an axis without elements
                    rows.append(failed(function.name, CODE_VALUES[dtype], f"the code raised {error}"))
                continue
            except Exception as error:  # generated code may raise anything; it is a row of the report
                rows.append(
                    failed(function.name, CODE_VALUES[dtype], f"the code raised {type(error).__name__}: {error}")
                )
                continue
            rows += _compared(layer, function, sample.instance, got, exact, noisy, dtype)
    return rows


def _given(function: Pass, layer: Layer, sample: Sample, seed: int) -> dict[str, Array]:
    """Return what the function is handed in: the sample's cotangents, and random directions of float32's numbers."""
    rng = Random(f"{function.name} {seed}")
    given: dict[str, Array] = {}
    for name, like in function.given:
        if name in sample.cotangents:
            given[name] = sample.cotangents[name]
        else:
            keys = sample.instance.keys(layer.axes(like))
            given[name] = {key: float(np.float32(rng.gauss(0.0, 1.0))) for key in keys}
    return given


def _values(
    program: Program,
    function: Pass,
    sample: Sample,
    given: Mapping[str, Array],
    context: Any,
    noise: Random | None = None,
) -> dict[str, Array]:
    evaluator = Evaluator((*program.forward, *function.statements), sample.instance, context, noise=noise)
    return evaluator.run({**sample.inputs, **given})


# Formulas


def _tangents(
    layer: Layer,
    program: Program,
    function: Pass,
    sample: Sample,
    given: Mapping[str, Array],
    values: Mapping[str, Array],
    seed: int,
) -> list[Row]:
    """The tangents against the differences of the layer's outputs along the directions, one parameter at a time."""
    evaluator = Evaluator(layer.statements, sample.instance, multiprecision())
    evaluator.run(sample.inputs)
    slopes = _slopes(evaluator, function, given, layer.returns)
    return [_elements(name, values[name], slopes[of]) for of, name in function.results]


def _products(
    layer: Layer,
    program: Program,
    function: Pass,
    sample: Sample,
    given: Mapping[str, Array],
    values: Mapping[str, Array],
    seed: int,
) -> list[Row]:
    """The Hessian's products against the differences of the gradients along the vectors."""
    evaluator = Evaluator((*program.forward, *program.backward), sample.instance, multiprecision())
    ones = {name: dict.fromkeys(sample.cotangents[name], 1.0) for name in program.cotangents}
    evaluator.run({**sample.inputs, **ones})
    gradients = dict(program.gradients)
    slopes = _slopes(evaluator, function, given, list(gradients.values()))
    return [_elements(name, values[name], slopes[gradients[of]]) for of, name in function.results]


def _slopes(evaluator: Evaluator, function: Pass, given: Mapping[str, Array], names: Any) -> dict[str, dict[Any, Any]]:
    """Return the derivative of each name's elements along the directions of all parameters together."""
    mp = multiprecision()
    at, step = dict(evaluator.arrays), mp.mpf(_STEP)
    slopes: dict[str, dict[Any, Any]] = {name: {} for name in names}
    for name, parameter in function.given:
        probe = Probe(parameter, numbers(given, mp)[name])
        above, below = (evaluator.perturbed(parameter, probe.moved(at[parameter], s)) for s in (step, -step))
        for of, slope in slopes.items():
            for key, value in above[of].items():
                slope[key] = slope.get(key, 0) + (value - below[of][key]) / (2 * step)
    return slopes


def _elements(name: str, value: Array, slopes: Mapping[Any, Any]) -> Row:
    mp = multiprecision()
    tolerance = mp.mpf(_TOLERANCE) * (1 + max((abs(v) for v in slopes.values()), default=0))
    pairs = ((place(name, key), value[key], slope, tolerance) for key, slope in slopes.items())
    return worst(name, FORMULA_DIFFERENCES, pairs)


def _second(
    layer: Layer,
    program: Program,
    function: Pass,
    sample: Sample,
    given: Mapping[str, Array],
    values: Mapping[str, Array],
    seed: int,
) -> list[Row]:
    """The gradients of ``Σ ⟨ddx, dx⟩`` against its differences along random directions, and at an element each."""
    mp = multiprecision()
    evaluator = Evaluator((*program.forward, *program.backward), sample.instance, mp)
    evaluator.run({**sample.inputs, **sample.cotangents})
    at, step = dict(evaluator.arrays), mp.mpf(_STEP)
    exact = numbers(given, mp)
    pairs = [
        (exact[name], gradient) for (name, _), (_, gradient) in zip(function.given, program.gradients, strict=False)
    ]

    def paired(arrays: Mapping[str, Array]) -> Any:
        return mp.fsum(v * arrays[gradient][key] for weights, gradient in pairs for key, v in weights.items())

    size = 1 + mp.fsum(abs(v * at[gradient][key]) for weights, gradient in pairs for key, v in weights.items())
    cotangent = dict(zip(program.outputs, program.cotangents, strict=True))
    outputs = len(program.cotangents)
    rows = []
    for number, (of, name) in enumerate(function.results):
        variable = cotangent[of] if number < outputs else of
        tolerance = mp.mpf(_TOLERANCE) * (size + max((abs(v) for v in values[name].values()), default=0))
        found = []
        for probe in _probes(variable, list(at[variable]), seed):
            above, below = (paired(evaluator.perturbed(variable, probe.moved(at[variable], s))) for s in (step, -step))
            claimed = mp.fsum(values[name][key] * v for key, v in probe.direction.items())
            where = place(name, probe.key) if probe.key is not None else f"{name} along a random direction"
            found.append((where, claimed, (above - below) / (2 * step), tolerance * len(probe.direction)))
        rows.append(worst(name, FORMULA_DIFFERENCES, found))
    return rows


def _probes(name: str, keys: list[Any], seed: int) -> Iterator[Probe]:
    rng = Random(f"second {name} {seed}")
    if not keys:
        return
    if len(keys) > 1:
        yield Probe(name, {key: rng.gauss(0.0, 1.0) for key in keys})
    one = rng.choice(keys)
    yield Probe(name, {one: 1.0}, one)


# Code


def _run(
    module: GeneratedModule,
    layer: Layer,
    program: Program,
    function: Pass,
    sample: Sample,
    given: Mapping[str, Array],
    dtype: str,
) -> list[Values]:
    inputs, _ = inputs_of(layer, sample, np.dtype(dtype))
    _, cache = module.forward(inputs, sample.instance)
    arguments = [
        dense(given[name], sample.instance.shape(layer.axes(like)), np.dtype(dtype)) for name, like in function.given
    ]
    call: Callable[..., Any] = module.names[function.name]
    result = call(*arguments, cache) if function.name == "double_backward" else call(arguments, cache)
    return list(result) if len(function.results) > 1 or function.name != "jvp" else [result]


def _compared(
    layer: Layer,
    function: Pass,
    instance: Instance,
    got: list[Values],
    exact: Mapping[str, Array],
    noisy: list[dict[str, Array]],
    dtype: str,
) -> Iterator[Row]:
    """Compare each result: allowed is what rounding does to the formula, and a share of the largest result."""
    results = [name for _, name in function.results]
    largest = max((1.0, *(float(abs(v)) for name in results for v in exact[name].values())))
    share = 1e-10 if dtype == "float64" else 16 * EPS["float32"]
    for (of, name), value in zip(function.results, got, strict=True):
        expected = dense(exact[name], instance.shape(layer.axes(of)), np.float64)
        if np.shape(value) != expected.shape:
            reason = f"shape {np.shape(value)}, expected {expected.shape}"
            yield failed(name, CODE_VALUES[dtype], reason)
            continue
        if np.asarray(value).dtype != dtype:
            reason = f"dtype {np.asarray(value).dtype}, expected {dtype}"
            yield failed(name, CODE_VALUES[dtype], reason)
            continue
        movement = max((float(abs(run[name][key] - v)) for run in noisy for key, v in exact[name].items()), default=0.0)
        tolerance = share * largest + 32 * EPS[dtype] / EPS["float32"] * movement
        flat = np.asarray(value, np.float64)
        pairs = (
            (f"{name}[{', '.join(map(str, at))}]" if at else name, float(flat[at]), float(expected[at]), tolerance)
            for at in np.ndindex(expected.shape)
        )
        yield worst(name, CODE_VALUES[dtype], pairs)
