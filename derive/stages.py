"""Backward passes that return the adjoint of every intermediate result: what one works out by hand, to compare with.

    text, report = build_stages(load("batchnorm"))
    g = backward(dy, cache)
    g.dx, g.dxhat, g.dvar

Every name of the layer file keeps its own adjoint. Stable rewriting may put
one primitive in the place of several statements (``exp``, a sum and a quotient
are a softmax); where a name would be lost so, the layer is differentiated as
it is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from derive.calculus.differentiate import Staged, differentiate
from derive.calculus.program import Program
from derive.errors import CheckError
from derive.language.layer import Layer
from derive.simplify.lines import Line, in_order, needed, statement_of
from derive.simplify.simplify import Form, simplify
from derive.stability import stabilize

if TYPE_CHECKING:
    from derive.check import Report

__all__ = ["build_stages", "staged_program"]


def staged_program(layer: Layer, wrt: Sequence[str] | None = None) -> Program:
    """Derive the backward pass of a layer stage by stage; ``Program.stages`` names what is returned beside gradients.

    Raises:
        DeriveError: a name in ``wrt`` has no gradient, or no derivative is known.
    """
    staged = _named(layer, wrt)
    parameters = {p.name for p in layer.parameters}
    found = [a for a in staged.adjoints if a.carry is None and a.name not in parameters]
    results = [a.symbol for a in staged.adjoints if a.name in staged.wanted] + [a.symbol for a in found]
    lines = needed([Line(a.target, a.terms, a.carry) for a in staged.adjoints], results)
    return replace(
        simplify(staged, Form.STAGED),
        forward=staged.forward,
        backward=tuple(statement_of(line, results) for line in in_order(lines)),
        steps=staged.steps,
        stages=tuple((a.name, a.symbol) for a in found),
    )


def _named(layer: Layer, wrt: Sequence[str] | None) -> Staged:
    stable, steps = stabilize(layer)
    names = {s.name for s in layer.statements}
    if names <= {s.name for s in stable.statements}:
        staged = differentiate(layer, stable, steps, wrt)
        if names <= {s.name for s in staged.forward}:
            return staged
    return differentiate(layer, layer, (), wrt)


def build_stages(layer: Layer, wrt: Sequence[str] | None = None, seed: int = 0) -> tuple[str, Report]:
    """Return the text of a NumPy module whose backward returns every stage, and the report of its check.

    Raises:
        CheckError: formulas and code disagree with independent evaluation.
    """
    from derive.check import check
    from derive.lower import lower
    from derive.render.numpy import render

    program = staged_program(layer, wrt)
    text = render(lower(program))
    report = check(layer, program, text, seed=seed)
    if not report.passed:
        raise CheckError(f"{layer.name}: the generated code does not pass its check", hint=report.failure())
    return text, report
