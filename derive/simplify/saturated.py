"""The last touch on an elementwise layer: gradients that keep their digits where it saturates."""

from __future__ import annotations

from dataclasses import replace

from derive.calculus.differentiate import Staged
from derive.calculus.program import Program, Steps
from derive.simplify.forward import forward_statements
from derive.stability.saturation import unsaturated

__all__ = ["without_saturation"]


def without_saturation(staged: Staged, program: Program) -> Program:
    """Return the program with a backward that loses no digits where tanh and sigmoid are close to 1.

    Args:
        staged: the derivation that ``program`` was simplified from.
        program: with its further functions, which stay as they are.
    """
    backward, steps = unsaturated(staged.layer, staged.forward, program.backward)
    if not steps:
        return program
    reading = [*backward, *(s for p in program.passes for s in p.statements)]
    forward = forward_statements(staged, reading)
    return replace(
        program, forward=forward, backward=backward, steps=Steps(lambda: program.steps, lambda: steps)
    )  # fmt: skip
