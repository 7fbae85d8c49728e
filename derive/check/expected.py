"""What code should give at a sample, and how far off honest rounding may take it.

Working in float32, an algorithm as good as the formula allows is off by what
the formula itself is off by when each of its operations is rounded. So that is
measured: the formula is evaluated exactly (50 digits), and a few times in
floats with every input and every operation's result moved by 2**-24 of itself,
up or down at random. How far a result moves, times 32 (a few draws are no
bound, and code may group its sums otherwise), is what float32 code may be off
by there; in float64 it is 2**-29 of that. What is 0 by cancellation moves by
nothing, so a share of the largest result is added.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from derive.calculus.program import Program
from derive.check.contexts import floats
from derive.check.evaluate import Evaluator
from derive.check.instance import Array
from derive.check.samples import Sample
from derive.check.work import work

__all__ = ["EPS", "Expected", "expected_at"]

_LITTLE = 1500  # scalar operations
EPS = {"float64": 2.0**-52, "float32": 2.0**-23}


@dataclass(frozen=True, slots=True)
class Expected:
    """What the code should give at a sample.

    Attributes:
        program: the formulas.
        sample: the inputs.
        values: of every name of the program, in multiprecision.
        movement: of every result: how far rounding operations like float32's moved an element, at most.
        largest: of every result: its largest element.
    """

    program: Program
    sample: Sample
    values: Mapping[str, Array]
    movement: Mapping[str, float]
    largest: Mapping[str, float]

    @property
    def fields(self) -> dict[str, tuple[str, str]]:
        """The results by the code's name: the tensor that has their shape, and their name in the program."""
        outputs = {name: (name, name) for name in self.program.outputs}
        return outputs | {f"d{p}": (p, name) for p, name in self.program.gradients}

    def allowed(self, precision: str, share: float) -> dict[str, float]:
        """Return the absolute error that each output and gradient may have in a precision.

        Args:
            precision: ``float64`` or ``float32``.
            share: of the largest output (and of 1), or of the largest gradient (and cotangent), that is allowed too.
        """
        cotangents = (abs(dy) for array in self.sample.cotangents.values() for dy in array.values())
        outputs = max((1.0, *(self.largest[name] for name in self.program.outputs)))
        gradients = max((max(cotangents, default=0.0), *(self.largest[name] for _, name in self.program.gradients)))
        shrink = EPS[precision] / EPS["float32"]
        return {
            field: share * (outputs if field in self.program.outputs else gradients) + 32 * shrink * self.movement[name]
            for field, (_, name) in self.fields.items()
        }


def expected_at(program: Program, sample: Sample, values: Mapping[str, Array], seed: int) -> Expected:
    """Return what a program's code should give, from the program's exact values at the sample."""
    statements = (*program.forward, *program.backward)
    evaluator = Evaluator(statements, sample.instance, floats(), noise=Random(f"rounding {seed}"))
    given = {**sample.inputs, **sample.cotangents}
    draws = 4 if work(program.layer, sample.instance) < _LITTLE else 2
    runs = [evaluator.run(given) for _ in range(draws)]
    movement, largest = {}, {}
    for name in (*program.outputs, *program.returned):
        exact = {key: float(value) for key, value in values[name].items()}
        distances = (abs(run[name][key] - value) for run in runs for key, value in exact.items())
        movement[name] = max((distance for distance in distances if distance < math.inf), default=0.0)
        largest[name] = max(map(abs, exact.values()), default=0.0)
    return Expected(program, sample, values, movement, largest)
