"""Layers that reduce: the error of every output and gradient, relative to the largest element of the tensor.

Where a result is smaller than the terms that it adds up (a gradient that
vanishes, a loss that is a difference of two), relative to these
(:mod:`derive.accuracy.magnitudes`).

They are measured on well-scaled data (normal numbers, as the check draws them)
and where formulas are known to lose digits: logits of ±1e4, data of mean 1e4
and deviation 1, vectors of 1e-20, each put in place of the first parameter.
What a network makes of these, with products of matrices one after the other,
is measured, but nothing is promised of it.
An exact result comes from the program's formulas with so many digits that more
of them change nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sympy import Mul

from derive.accuracy.magnitudes import magnitudes
from derive.accuracy.reference import context, statements
from derive.accuracy.result import Measure, Row
from derive.accuracy.ulps import FORMATS, Format
from derive.algebra.indices import free_indices, names
from derive.algebra.nodes import Kind, LogSoftmax, LogSumExp, Mean, Norm, Softmax, Sum
from derive.calculus.program import Program
from derive.check.evaluate import Evaluator
from derive.check.instance import Array, Instance
from derive.check.module import GeneratedModule, inputs_of
from derive.check.samples import Sample, sample
from derive.check.sizes import choose_instance
from derive.language.layer import Layer

__all__ = ["EXTREME", "WELL_SCALED", "families", "measure_tensors"]

WELL_SCALED, EXTREME = 1e-6, 1e-5
"""The largest relative errors in float32; in float64 they are as many roundings."""

_DIGITS = (60, 240, 1000, 4600)
_AGREE = "1e-20"
_MOST_PRODUCTS = 2


@dataclass(frozen=True, slots=True)
class _Inputs:
    """A way to draw the first parameter.

    Attributes:
        name: in words.
        bound: of the relative error in float32.
        draw: gives one number; None for the check's own.
        families: in which the bound is promised; for others the error is measured.
        kinds: of parameters that can have such numbers.
    """

    name: str
    bound: float
    draw: Callable[[Random], float] | None
    families: frozenset[str]
    kinds: tuple[Kind, ...] = (Kind.REAL,)


@dataclass(frozen=True, slots=True)
class _Reference:
    """Inputs, what exactly comes of them, and how large the terms of gradients are where that counts."""

    sample: Sample
    exact: Mapping[str, Array]
    terms: Mapping[str, float]


_ALL = frozenset({"softmax", "normalization", "loss"})
INPUTS: tuple[_Inputs, ...] = (
    _Inputs("well-scaled", WELL_SCALED, None, _ALL, tuple(Kind)),
    _Inputs("logits ±1e4", EXTREME, lambda r: r.uniform(-1e4, 1e4), frozenset({"softmax", "loss"})),
    _Inputs("mean 1e4, deviation 1", EXTREME, lambda r: 1e4 + r.gauss(0, 1), frozenset({"normalization"})),
    _Inputs("vectors of 1e-20", EXTREME, lambda r: 1e-20 * r.gauss(0, 1), frozenset({"normalization"})),
)


def families(layer: Layer, program: Program) -> frozenset[str]:
    """Return to which of ``softmax``, ``normalization`` and ``loss`` a layer belongs, by its formulas.

    A normalization has a norm, or a root of what adds up squares; a loss has
    one number as its result.
    """
    found: set[str] = set()
    if any(_has(s.expr, (Softmax, LogSoftmax, LogSumExp)) for s in program.forward):
        found.add("softmax")
    summing: set[str] = set()
    for statement in program.forward:
        if names(statement.expr) & summing or any(map(_sums_squares, _nodes(statement.expr))):
            summing.add(statement.name)
        for node in _nodes(statement.expr):
            if isinstance(node, Norm) or (
                _is_root(node) and (names(node) & summing or any(map(_sums_squares, _nodes(node))))
            ):
                found.add("normalization")
    if all(not layer.axes(name) for name in layer.returns):
        found.add("loss")
    return frozenset(found)


def _is_network(program: Program) -> bool:
    """Whether what is normalized is a product of matrices, or more than two of these follow one another.

    Then the rounding of a product, a share of its terms, is a larger one of
    what is left when their mean is subtracted.
    """
    products = 0
    for statement in program.forward:
        nodes = list(_nodes(statement.expr))
        if products and any(isinstance(n, Norm) or _is_root(n) for n in nodes):
            return True
        products += sum(map(_is_matrix_product, nodes))
    return products > _MOST_PRODUCTS


def _is_root(node: Any) -> bool:
    return bool(node.is_Pow and node.exp.is_Rational and node.exp.q == 2 and names(node))


def _is_matrix_product(node: Any) -> bool:
    if not isinstance(node, Sum):
        return False
    sets = [free_indices(f) for f in Mul.make_args(node.body) if names(f)]
    return any(a - b and b - a and a & b for k, a in enumerate(sets) for b in sets[k + 1 :])


def _sums_squares(node: Any) -> bool:
    return isinstance(node, (Sum, Mean)) and _is_square(node.body)


def _is_square(body: Any) -> bool:
    return any(f.is_Pow and f.exp == 2 for f in Mul.make_args(body))


def _nodes(expr: Any) -> Iterator[Any]:
    yield expr
    for arg in expr.args:
        yield from _nodes(arg)


def _has(expr: Any, classes: tuple[type, ...]) -> bool:
    return any(isinstance(node, classes) for node in _nodes(expr))


def measure_tensors(
    layer: Layer, program: Program, text: str, *, seed: int, modules: Mapping[str, str] | None = None
) -> Iterator[Row]:
    """Yield the rows of a layer, set of inputs by set of inputs, in both precisions.

    Raises:
        CheckError: no inputs can be found at which the layer's results are finite.
    """
    module = GeneratedModule(layer, text, modules)
    own, network = families(layer, program), _is_network(program)
    first = sample(layer, choose_instance(layer), seed)
    others = [sample(layer, first.instance, seed + k) for k in (1, 2)]
    for inputs in INPUTS:
        samples = [first, *others] if inputs.draw is None else list(_drawn(layer, first, inputs, seed))
        references = []
        for at in samples:
            exact = _reference(program, at)
            if exact is not None:
                references.append(_Reference(at, exact, magnitudes(program, at)))
        if not references:
            continue
        for form in FORMATS.values():
            promised = inputs.families & own and not (inputs.draw is not None and network)
            bound = inputs.bound * form.epsilon / FORMATS["float32"].epsilon if promised else None
            yield from _rows(layer, program, module, references, inputs.name, form, bound)


def _drawn(layer: Layer, first: Sample, inputs: _Inputs, seed: int) -> Iterator[Sample]:
    """Yield the sample with other numbers for the first parameter that can have them."""
    parameter = next((p for p in layer.parameters if p.kind.differentiable and p.axes), None)
    if parameter is None or parameter.kind not in inputs.kinds or inputs.draw is None:
        return
    rng = Random(f"{inputs.name} {seed}")
    array = {key: float(np.float32(inputs.draw(rng))) for key in first.inputs[parameter.name]}
    yield replace(first, inputs={**first.inputs, parameter.name: array})


def _reference(program: Program, at: Sample) -> dict[str, Array] | None:
    """Return outputs and gradients with more digits than matter; None where one is no number."""
    names = {name: name for name in program.outputs} | {f"d{p}": name for p, name in program.gradients}
    before: Mapping[str, Array] | None = None
    for digits in _DIGITS:
        mp = context(digits)
        run = Evaluator(statements(program), at.instance, mp).run({**at.inputs, **at.cotangents})
        found: dict[str, Array] = {}
        for field, name in names.items():
            found[field] = {key: mp.convert(v) for key, v in run[name].items()}
        if any(not mp.isfinite(v) for array in found.values() for v in array.values()):
            return None
        if before is not None and all(_same(before[field], found[field], mp) for field in found):
            return found
        before = found
    return None


def _same(a: Array, b: Array, mp: Any) -> bool:
    scale = max((abs(v) for v in b.values()), default=0)
    return all(abs(a[key] - v) <= mp.mpf(_AGREE) * scale for key, v in b.items())


def _rows(
    layer: Layer,
    program: Program,
    module: GeneratedModule,
    references: list[_Reference],
    name: str,
    form: Format,
    bound: float | None,
) -> Iterator[Row]:
    """Yield one row an output and gradient: the worst over the samples."""
    found: dict[str, Row] = {}
    for reference in references:
        given, cotangents = inputs_of(layer, reference.sample, np.dtype(form.name))
        with np.errstate(all="ignore"):
            call = module.run(given, cotangents, reference.sample.instance)
        for field, values in {**call.outputs, **call.gradients}.items():
            row = _row(field, form, name, bound, np.asarray(values), reference)
            before = found.get(field)
            if before is None:
                found[field] = row
            else:
                worse = row if row.error > before.error else before
                found[field] = replace(worse, compared=row.compared + before.compared)
    yield from found.values()


def _row(field: str, form: Format, inputs: str, bound: float | None, got: NDArray[Any], reference: _Reference) -> Row:
    worst, key = -1.0, None
    exact = reference.exact[field]
    largest = max((abs(v) for v in exact.values() if not form.overflows(v)), default=0)
    scale = max(largest, reference.terms.get(field, 0.0), form.tiny)
    for at, value in exact.items():
        g = float(got[Instance.position(at)])
        if form.overflows(value):
            error = 0.0 if g == math.copysign(math.inf, value) else math.inf
        else:
            error = float(abs(value - g) / scale) if math.isfinite(g) else math.inf
        if error > worst:
            worst, key = error, at
    measure = Measure("relative", bound)
    if key is None:
        return Row(field, form.name, inputs, measure, 0, 0.0)
    place = Instance.position(key)
    where = f"{field}[{', '.join(map(str, place))}]" if place else field
    return Row(
        field, form.name, inputs, measure, len(exact), worst, where, float(got[place]), float(exact[key]),
    )  # fmt: skip
