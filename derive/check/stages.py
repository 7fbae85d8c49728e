"""Check the adjoints of intermediate results, where a program returns them.

``dv`` says how ``⟨dy, y⟩`` changes with ``v`` where everything before ``v``
stays. So every forward statement ``v = e`` gets a nudge, ``v = e + nudge``,
and the differences along the nudge are compared with ``dv``: in
multiprecision, as those of the gradients (:mod:`derive.check.formulas`). The
code's values are compared with the formulas' in float64 and float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random

import numpy as np

from derive.algebra.nodes import Element, Tensor
from derive.calculus.program import Program
from derive.check.contexts import multiprecision
from derive.check.evaluate import Evaluator, numbers
from derive.check.expected import EPS, Expected
from derive.check.instance import Array, Key
from derive.check.module import GeneratedModule, dense, inputs_of
from derive.check.probes import Probe, along, pairing
from derive.check.report import CODE_VALUES, FORMULA_DIFFERENCES, Row, failed, worst
from derive.check.samples import Sample
from derive.check.work import work
from derive.language.layer import Layer

__all__ = ["check_stage_formulas", "stage_code_rows"]

_STEP = "1e-18"
# Differences are right to some 30 digits; a step of 1e-18 from a corner (the larger of a count and 1) to 17.
_TOLERANCE = "1e-16"
_ELEMENTS = 3
_LITTLE = 2000  # scalar operations of the forward pass


def check_stage_formulas(program: Program, sample: Sample, values: Mapping[str, Array], seed: int) -> list[Row]:
    """Compare the adjoints of stages with differences along a random direction and a few elements each.

    Args:
        program: with ``stages``.
        sample: inputs and cotangents.
        values: of every name of the program there, in multiprecision.
        seed: of the directions.
    """
    mp, rng = multiprecision(), Random(f"stages {seed}")
    nudges = {name: f"{name}'" for name, _ in program.stages}
    statements = [
        replace(s, expr=s.expr + Element(Tensor(nudges[s.name]), *s.indices)) if s.name in nudges else s
        for s in program.forward
    ]
    reference = Evaluator(statements, sample.instance, mp)
    still: dict[str, dict[Key, float]] = {n: dict.fromkeys(values[name], 0.0) for name, n in nudges.items()}
    cotangents = numbers(sample.cotangents, mp)
    at = reference.run({**sample.inputs, **still})
    terms = [abs(dy * at[n][key]) for n in program.outputs for key, dy in cotangents[f"d{n}"].items()]
    step, size = mp.mpf(_STEP), 1 + mp.fsum(terms)
    rows = []
    small = work(program.layer, sample.instance) < _LITTLE
    for name, symbol in program.stages:
        adjoint, keys = values[symbol], list(values[name])
        if adjoint.keys() != values[name].keys():
            rows.append(failed(symbol, FORMULA_DIFFERENCES, f"it has not the shape of {name}"))
            continue
        few = _ELEMENTS if small else 0  # a direction meets every element; single ones say where
        probes = [Probe(name, {key: 1.0}, key) for key in rng.sample(keys, min(few, len(keys)))]
        probes.append(Probe(name, {key: rng.gauss(0.0, 1.0) for key in keys}))
        largest = max((abs(v) for v in adjoint.values()), default=0)
        tolerance = mp.mpf(_TOLERANCE) * (size + largest)
        pairs = []
        for probe in probes:
            above, below = (
                pairing(
                    cotangents,
                    reference.perturbed(nudges[name], probe.moved(at[nudges[name]], s)),
                    program.outputs,
                    mp,
                )
                for s in (step, -step)
            )
            slope = (above - below) / (2 * step)
            pairs.append((probe.where, along(adjoint, probe, mp), slope, tolerance * len(probe.direction)))
        rows.append(worst(symbol, FORMULA_DIFFERENCES, pairs))
    return rows


def stage_code_rows(layer: Layer, module: GeneratedModule, samples: Sequence[Expected]) -> list[Row]:
    """Compare the adjoints that a module's backward returns with the formulas', in float64 and float32."""
    rows = []
    for expected in samples:
        sample, program = expected.sample, expected.program
        if 0 in sample.instance.sizes.values():
            continue
        axes = {s.name: s.axes for s in program.forward}
        for precision in ("float64", "float32"):
            inputs, cotangents = inputs_of(layer, sample, np.dtype(precision))
            _, cache = module.forward(inputs, sample.instance)
            found = module.all_adjoints(cotangents, cache)
            share = 1e-10 if precision == "float64" else 16 * EPS["float32"]
            shrink = EPS[precision] / EPS["float32"]
            scale = max((expected.largest[symbol] for symbol in program.returned), default=1.0)
            for name, symbol in program.stages:
                method = CODE_VALUES[precision]
                got, exact = (
                    np.asarray(found[symbol]),
                    dense(expected.values[symbol], sample.instance.shape(axes[name]), np.float64),
                )
                if got.shape != exact.shape:
                    rows.append(failed(symbol, method, f"shape {got.shape}, expected {exact.shape}"))
                    continue
                if got.dtype != precision:
                    rows.append(failed(symbol, method, f"dtype {got.dtype}, expected {precision}"))
                    continue
                tolerance = share * max(scale, 1.0) + 32 * shrink * expected.movement[symbol]
                pairs = (
                    (_place(symbol, at), float(got[at]), float(exact[at]), tolerance) for at in np.ndindex(exact.shape)
                )
                rows.append(worst(symbol, method, pairs))
    return rows


def _place(name: str, at: tuple[int, ...]) -> str:
    return f"{name}[{', '.join(map(str, at))}]" if at else name
