"""Check the formulas: the backward against differences of the layer as it was written.

With 50 digits and a step of 1e-18, central differences lose about 1e-36 to
curvature and 1e-32 to rounding, so they are right to some 30 digits: a formula
that agrees at a random point to 24 digits is right, short of a conspiracy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from derive.calculus.program import Program
from derive.check.contexts import multiprecision
from derive.check.evaluate import Evaluator, evaluate_program, numbers
from derive.check.instance import Array
from derive.check.probes import Probe, along, choose_probes, pairing, place
from derive.check.report import FORMULA_DIFFERENCES, FORMULA_VALUES, Row, worst
from derive.check.samples import Sample
from derive.check.work import work
from derive.language.layer import Layer

__all__ = ["BUDGET", "check_formulas", "program_values"]

_STEP = "1e-18"

# Differences lose 1e-32 of ⟨dy, y⟩ and 1e-36 of the third derivative; a margin of 1e8 leaves 24 digits.
_TOLERANCE = "1e-24"
# Both forwards are the same real number, computed in two ways with 50 digits; up to 15 may cancel.
_FORWARD_TOLERANCE = "1e-35"

# Scalar operations: a sixth of a second.
BUDGET = 60_000


def program_values(program: Program, sample: Sample, context: Any = None) -> dict[str, Array]:
    """Return the values of every name of the program at the sample, in multiprecision unless a context is given."""
    return evaluate_program(program, sample.instance, sample.inputs, sample.cotangents, context)


def check_formulas(
    layer: Layer,
    program: Program,
    sample: Sample,
    values: Mapping[str, Array],
    seed: int,
    note: str = "",
    budget: int = BUDGET,
) -> list[Row]:
    """Compare a program's values with the layer as it was written, element by element.

    Args:
        layer: as the user wrote it.
        program: forward and backward statements.
        sample: inputs and cotangents.
        values: of every name of the program there, in multiprecision.
        seed: of the random directions.
        note: for the rows.
        budget: scalar operations that differences may take before elements are left out.

    Returns:
        A row for each output and each gradient.
    """
    mp = multiprecision()
    reference = Evaluator(layer.statements, sample.instance, mp)
    written = reference.run(sample.inputs)
    rows = [_forward_row(name, values[name], written[name], mp) for name in layer.returns]
    cotangents = numbers(sample.cotangents, mp)
    terms = [abs(dy * written[n][key]) for n in layer.returns for key, dy in cotangents[f"d{n}"].items()]
    size = 1 + mp.fsum(terms)

    def differences(probes: Iterable[Probe]) -> list[tuple[Probe, Any]]:
        step, found = mp.mpf(_STEP), []
        for probe in probes:
            at = written[probe.parameter]
            above, below = (
                pairing(cotangents, reference.perturbed(probe.parameter, probe.moved(at, s)), layer.returns, mp)
                for s in (step, -step)
            )
            found.append((probe, (above - below) / (2 * step)))
        return found

    parameters = [parameter for parameter, _ in program.gradients]
    affordable = budget // max(1, 2 * work(layer, sample.instance))
    probes = choose_probes(sample, parameters, seed, most=max(len(parameters), min(64, affordable)))
    for parameter, name in program.gradients:
        gradient = values[name]
        tolerance = mp.mpf(_TOLERANCE) * (size + _largest(gradient, mp))
        own = differences(probe for probe in probes if probe.parameter == parameter)
        row = _gradient_row(name, gradient, own, tolerance, mp)
        if not row.passed and "direction" in row.where:
            culprit = _wrong_element(gradient, own[-1][0], differences, mp)
            found = _gradient_row(name, gradient, differences([culprit]), tolerance, mp)
            row = row if found.passed else found
        rows.append(row)
    return [replace(row, note=note) for row in rows]


def _wrong_element(
    gradient: Array, probe: Probe, differences: Callable[[Iterable[Probe]], list[tuple[Probe, Any]]], mp: Any
) -> Probe:
    """Return an element that is wrong, given a direction that tells there is one.

    The error along the direction is the sum of those along its two halves, so
    the half with the larger one holds a wrong element.
    """
    keys = list(probe.direction)
    while len(keys) > 1:
        middle = len(keys) // 2
        halves = [replace(probe, direction={k: probe.direction[k] for k in h}) for h in (keys[:middle], keys[middle:])]
        errors = [abs(along(gradient, half, mp) - slope) for half, slope in differences(halves)]
        first = errors[0] != errors[0] or errors[0] >= errors[1]
        keys = list(halves[0 if first else 1].direction)
    return Probe(probe.parameter, {keys[0]: 1.0}, keys[0])


def _largest(array: Array, mp: Any) -> Any:
    return max((abs(v) for v in array.values() if v == v and abs(v) != mp.inf), default=0)


def _forward_row(name: str, value: Array, reference: Array, mp: Any) -> Row:
    tolerance = mp.mpf(_FORWARD_TOLERANCE) * (1 + _largest(reference, mp))
    pairs = ((place(name, key), value[key], expected, tolerance) for key, expected in reference.items())
    return worst(name, FORMULA_VALUES, pairs)


def _gradient_row(name: str, gradient: Array, differences: Sequence[tuple[Probe, Any]], tolerance: Any, mp: Any) -> Row:
    # A direction has components of size 1, one an element: its sum may round as much more.
    pairs = [(p.where, along(gradient, p, mp), expected, tolerance * len(p.direction)) for p, expected in differences]
    return worst(name, FORMULA_DIFFERENCES, pairs)
