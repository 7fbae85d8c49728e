"""Check the code: the generated module, run as a user would run it.

Its outputs and gradients are compared, in float64 and float32, with the
formulas in multiprecision (which :mod:`derive.check.formulas` has compared
with the layer as written); its gradients with plain central differences of its
own forward, as the literature does, and with the complex step where every
function is analytic. That needs nothing but the module.

Sources: Squire & Trapp, "Using Complex Variables to Estimate Derivatives of
Real Functions", SIAM Review 40 (1998), for the complex step.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import sympy
from sympy import Add, Expr, Mul, Pow

from derive.algebra.functions import BY_CLASS, StopGradient, Where
from derive.algebra.indices import elements
from derive.algebra.nodes import (
    Delta,
    Element,
    Hyper,
    Index,
    LogSoftmax,
    LogSumExp,
    Mean,
    Padded,
    Prod,
    Size,
    Softmax,
    Sum,
)
from derive.calculus.program import Program
from derive.check.expected import EPS, Expected
from derive.check.instance import Instance
from derive.check.module import Call, GeneratedModule, Inputs, Values, dense, inputs_of
from derive.check.probes import Probe, choose_probes
from derive.check.properties import is_real, property_rows
from derive.check.refusals import refusal_rows
from derive.check.report import CODE_COMPLEX_STEP, CODE_DIFFERENCES, CODE_VALUES, Method, Row, failed, not_run, worst
from derive.check.samples import Sample
from derive.check.stages import stage_code_rows
from derive.check.work import expressions
from derive.language.layer import Layer

__all__ = ["check_code"]

_STEP = 1e-5
_SMALL_BLOCKS = (1, 11)
"""Elements of a block, where code has a ``_BLOCK``: one row at a time, and a few."""
_COMPLEX_STEP = 1e-30
_IMPORT = Method("code", "import", "float64, float32")
_PROPERTIES = Method("code", "properties", "float64, float32")


def check_code(
    layer: Layer,
    program: Program,
    text: str | Mapping[str, str],
    samples: Sequence[Expected],
    seed: int,
    modules: Mapping[str, str] | None = None,
) -> list[Row]:
    """Run a module's text and compare what it gives.

    Args:
        layer: as the user wrote it.
        program: its formulas.
        text: of the module, or those of its files by name.
        samples: inputs and what should come of them; the first is the one that
            differences are taken at.
        seed: of random directions.
        modules: the texts of the modules that it imports from beside it, by name.

    Returns:
        Rows for outputs, gradients and properties. Code that raises is a row that fails.
    """
    try:
        module = GeneratedModule(layer, text, modules, [name for _, name in program.stages])
    except Exception as error:  # whatever the text raises is the verdict on it
        return [failed(layer.name, _IMPORT, _raised(error))]
    rows: list[Row] = []
    first = samples[0].sample
    with np.errstate(all="ignore"):
        for number, expected in enumerate(samples):
            note = str(expected.sample.instance) if number else ""
            for dtype in ("float64", "float32"):
                compare = partial(_against_formulas, layer, module, expected, dtype, note)
                if 0 in expected.sample.instance.sizes.values():
                    compare = partial(_unless_refused, compare)
                rows += _guard(layer.name, CODE_VALUES[dtype], compare)
        rows += _in_small_blocks(layer, module, samples)
        if all(row.passed for row in rows):  # differences of code that is wrong say nothing more
            for method, differences in ((CODE_DIFFERENCES, _differences), (CODE_COMPLEX_STEP, _complex)):
                rows += _guard(layer.name, method, partial(differences, layer, program, module, first, seed))
        if program.stages:
            rows += _guard(layer.name, CODE_VALUES["float64"], lambda: stage_code_rows(layer, module, samples))
        rows += _guard(layer.name, _PROPERTIES, lambda: property_rows(layer, module, samples[0]))
        by_hypers: dict[str, Sample] = {}  # the first sample of each choice of them
        for expected in samples:
            if 0 not in expected.sample.instance.sizes.values():
                by_hypers.setdefault(str(expected.sample.instance.hypers), expected.sample)
        rows += _guard(layer.name, _PROPERTIES, lambda: refusal_rows(layer, module, [*by_hypers.values()]))
    return rows


def _in_small_blocks(layer: Layer, module: GeneratedModule, samples: Sequence[Expected]) -> list[Row]:
    """Return rows for code that works on blocks of rows, with blocks of so few that there are several and a rest."""
    rows: list[Row] = []
    usual = module.names.get("_BLOCK")
    for block in _SMALL_BLOCKS if usual is not None else ():
        module.names["_BLOCK"] = block
        for expected in samples:
            if 0 not in expected.sample.instance.sizes.values():
                note = f"blocks of {block} elements"
                for dtype in ("float64", "float32"):
                    compare = partial(_against_formulas, layer, module, expected, dtype, note)
                    rows += _guard(layer.name, CODE_VALUES[dtype], compare)
        module.names["_BLOCK"] = usual
    return rows


def _raised(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _guard(name: str, method: Method, compare: Callable[[], Iterable[Row]]) -> list[Row]:
    try:
        return list(compare())
    except Exception as error:  # generated code may raise anything; it is a row of the report
        return [failed(name, method, f"the code raised {_raised(error)}")]


def _unless_refused(compare: Callable[[], list[Row]]) -> list[Row]:
    """Return the rows; none where the code raises a ValueError, a good answer to an axis without elements."""
    try:
        return compare()
    except ValueError:
        return []


# Against the formulas


def _against_formulas(
    layer: Layer, module: GeneratedModule, expected: Expected, precision: str, note: str
) -> list[Row]:
    """Compare outputs and gradients in one precision.

    Beyond what rounding does to the formula, sixteen roundings at the scale of
    the largest result are allowed; in float64, where nothing is gained by less,
    1e-10 of it.
    """
    sample = expected.sample
    inputs, cotangents = inputs_of(layer, sample, np.dtype(precision))
    call = module.run(inputs, cotangents, sample.instance)
    got = {**call.outputs, **call.gradients}
    tolerances = expected.allowed(precision, 1e-10 if precision == "float64" else 16 * EPS["float32"])
    rows = []
    for field, (like, name) in expected.fields.items():
        exact = dense(expected.values[name], sample.instance.shape(layer.axes(like)), np.float64)
        dtype = precision if is_real(layer, field) else ""
        rows.append(_compare(field, got[field], exact, tolerances[field], precision, dtype, note))
    return rows


def _compare(name: str, got: Values, expected: Values, tolerance: float, precision: str, dtype: str, note: str) -> Row:
    method = CODE_VALUES[precision]
    if np.shape(got) != expected.shape:
        return failed(name, method, f"shape {np.shape(got)}, expected {expected.shape}")
    if dtype and np.asarray(got).dtype != dtype:
        return failed(name, method, f"dtype {np.asarray(got).dtype}, expected {precision}")
    flat = np.asarray(got, np.float64)
    pairs = (
        (f"{name}[{', '.join(map(str, at))}]" if at else name, float(flat[at]), float(expected[at]), tolerance)
        for at in np.ndindex(expected.shape)
    )
    return worst(name, method, pairs, note)


# Against differences of the code itself


def _slopes(
    program: Program,
    gradients: Mapping[str, Values],
    probes: Sequence[Probe],
    method: Method,
    slope: Callable[[Probe], tuple[float, float]],
) -> list[Row]:
    """Return a row a gradient: the derivative it claims along each probe against ``slope``'s value and tolerance."""
    rows = []
    for parameter, _ in program.gradients:
        name = f"d{parameter}"
        pairs = []
        for probe in probes:
            if probe.parameter == parameter:
                claimed = float((gradients[name] * _direction(probe, gradients[name].shape)).sum())
                expected, tolerance = slope(probe)
                pairs.append((probe.where, claimed, expected, tolerance))
        rows.append(worst(name, method, pairs))
    return rows


def _direction(probe: Probe, shape: tuple[int, ...]) -> Values:
    direction = np.zeros(shape)
    for key, value in probe.direction.items():
        direction[Instance.position(key)] = value
    return direction


def _scale(call: Call, cotangents: Inputs) -> tuple[float, float]:
    """Return the size of the terms of ``⟨dy, y⟩`` and of the gradients."""
    terms = sum(float(np.abs(cotangents[f"d{name}"] * y).sum()) for name, y in call.outputs.items())
    largest = max((float(np.abs(g).max()) for g in call.gradients.values() if g.size), default=0.0)
    return 1 + terms, largest


def _differences(layer: Layer, program: Program, module: GeneratedModule, sample: Sample, seed: int) -> list[Row]:
    """Compare gradients with central differences of the module's forward in float64.

    Rounding loses 2**-52/1e-5 = 2e-11 of the terms of ⟨dy, y⟩, times the number
    of roundings in series (a hundred, say); 1e-8 leaves room. Curvature loses
    (1e-5)**2/6 of the third derivative: three times that is what the result
    moves when the step is doubled, so that much is allowed where it is needed.
    """
    note = ""
    if any(expr.has(StopGradient) for s in layer.statements for expr in expressions(s)):
        note = "differences pass through stop_gradient"
    elif not sample.smooth:
        note = f"every sample was within {min(sample.kink, sample.edge):.1e} of a kink or pole"
    if note:
        return [not_run(f"d{p}", CODE_DIFFERENCES, note) for p, _ in program.gradients]
    inputs, cotangents = inputs_of(layer, sample, np.float64)
    call = module.run(inputs, cotangents, sample.instance)
    terms, largest = _scale(call, cotangents)

    def difference(probe: Probe, step: float) -> float:
        name = probe.parameter
        direction = _direction(probe, inputs[name].shape)
        above, below = (
            module.pairing({**inputs, name: inputs[name] + s * direction}, cotangents, sample.instance)
            for s in (step, -step)
        )
        return float(above - below) / (2 * step)

    def slope(probe: Probe) -> tuple[float, float]:
        expected = difference(probe, _STEP)
        tolerance = 1e-8 * (terms + largest)
        claimed = float(
            (call.gradients[f"d{probe.parameter}"] * _direction(probe, inputs[probe.parameter].shape)).sum()
        )
        if abs(claimed - expected) > tolerance:
            tolerance += abs(difference(probe, 2 * _STEP) - expected)
        return expected, tolerance

    probes = choose_probes(sample, [p for p, _ in program.gradients], seed)
    return _slopes(program, call.gradients, probes, CODE_DIFFERENCES, slope)


def _complex(layer: Layer, program: Program, module: GeneratedModule, sample: Sample, seed: int) -> list[Row]:
    """Compare gradients with Im⟨dy, y(x + ihv)⟩/h, which has no cancellation: right to rounding.

    The tolerance is that of a float64 gradient against multiprecision.
    """
    stays = _not_analytic(program)
    names = [f"d{p}" for p, _ in program.gradients]
    if stays:
        return [not_run(name, CODE_COMPLEX_STEP, f"{stays} is not analytic") for name in names]
    inputs, cotangents = inputs_of(layer, sample, np.float64)
    call = module.run(inputs, cotangents, sample.instance)
    terms, largest = _scale(call, cotangents)

    def slope(probe: Probe) -> tuple[float, float]:
        name = probe.parameter
        moved = inputs[name] + 1j * _COMPLEX_STEP * _direction(probe, inputs[name].shape)
        value = module.pairing({**inputs, name: moved}, cotangents, sample.instance)
        return float(np.imag(value)) / _COMPLEX_STEP, 1e-10 * (terms + largest)

    probes = choose_probes(sample, [p for p, _ in program.gradients], seed)
    validated = {id(n): (n, n["_expect"]) for n in (module.names, *module.called) if "_expect" in n}
    for namespace, expect in validated.values():
        namespace["_expect"] = _of_real_parts(expect)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", np.exceptions.ComplexWarning)  # an imaginary part is dropped
            return _slopes(program, call.gradients, probes, CODE_COMPLEX_STEP, slope)
    except (TypeError, ValueError, np.exceptions.ComplexWarning) as error:
        note = f"the code does not take complex numbers ({_raised(error)})"
        return [not_run(name, CODE_COMPLEX_STEP, note) for name in names]
    finally:
        for namespace, expect in validated.values():
            namespace["_expect"] = expect


def _of_real_parts(expect: Callable[..., Any]) -> Callable[..., Any]:
    """Return the module's validation, shown the real parts: it refuses complex numbers, rightly.

    Where it returns the arrays it was given, the complex ones take their places.
    """

    def wrapped(*values: Any, **options: Any) -> Any:
        parts = [np.asarray(value.real, order="C") if np.iscomplexobj(value) else value for value in values]
        owners = {id(part): value for part, value in zip(parts, values, strict=True)}

        def restored(result: Any) -> Any:
            if isinstance(result, np.ndarray):
                if id(result) not in owners:
                    raise TypeError("its validation makes other arrays")
                return owners[id(result)]
            if type(result) in (list, tuple):
                return type(result)(map(restored, result))
            return result

        return restored(expect(*parts, **options))

    return wrapped


_ANALYTIC: tuple[type, ...] = (
    Add, Mul, Element, Index, Size, Hyper, Delta, Sum, Mean, Prod, Softmax, LogSoftmax, LogSumExp,
    Padded,
)  # fmt: skip


def _not_analytic(program: Program) -> str:
    """Return a word for what keeps the forward from being analytic; "" where all of it is."""
    for statement in program.forward:
        for expr in expressions(statement):
            word = _first_not_analytic(expr)
            if word:
                return word
    return ""


def _first_not_analytic(expr: Expr) -> str:
    if not any(element.kind.differentiable for element in elements(expr)):
        return ""  # of labels, masks, indices and sizes only: constant
    if isinstance(expr, Element):
        return ""
    row = BY_CLASS.get(type(expr))
    if isinstance(expr, Where):
        if _first_not_analytic(expr.args[0]) or any(e.kind.differentiable for e in elements(expr.args[0])):
            return "a condition on the data"
    elif not (isinstance(expr, (*_ANALYTIC, Pow)) or (row is not None and row.analytic)):
        return row.name if row is not None else getattr(expr, "word", type(expr).__name__)
    if isinstance(expr, Pow) and not expr.exp.is_number:
        return "a power that is no number"
    for arg in expr.args:
        if not isinstance(arg, sympy.Tuple):
            word = _first_not_analytic(arg)
            if word:
                return word
    return ""
