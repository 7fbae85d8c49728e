"""The staged form of a layer's backward pass: the chain rule, operation by operation, before any simplification.

This is what one writes who goes through the forward pass backwards: an adjoint
for every intermediate result, each computed in full. It is what a closed form
is measured against.
"""

from __future__ import annotations

from collections.abc import Sequence

from derive.bench.operations import one_by_one
from derive.calculus.adjoint import adjoint_name
from derive.calculus.differentiate import differentiate
from derive.calculus.program import Program
from derive.language.layer import Layer
from derive.simplify.forward import forward_statements
from derive.simplify.lines import Line, in_order, needed, statement_of
from derive.simplify.sharing import without_copies
from derive.stability import stabilize

__all__ = ["staged_module", "staged_program"]


def staged_program(layer: Layer, wrt: Sequence[str] | None = None) -> Program:
    """Return the program of a layer with an adjoint for every operation, nothing simplified.

    Adjoints that nobody reads, or that are another's copy, are left out.

    Args:
        layer: from ``parse`` or ``load``.
        wrt: parameters whose gradients are wanted; None for all that have one.

    Raises:
        DerivationError: no derivative is known.
    """
    staged = differentiate(layer, one_by_one(stabilize(layer)[0]), (), wrt)
    symbols = {a.name: a.symbol for a in staged.adjoints}
    results = [symbols[name] for name in staged.wanted]
    lines = needed([Line(a.target, a.terms, a.carry) for a in staged.adjoints], results)
    backward = tuple(statement_of(line, results) for line in in_order(without_copies(lines, results)))
    cotangents = tuple(adjoint_name(y) + ("_out" if layer.parameter(y) else "") for y in layer.returns)
    return Program(
        layer,
        forward_statements(staged, backward),
        backward,
        layer.returns,
        cotangents,
        tuple((name, symbols[name]) for name in staged.wanted),
        staged.steps,
    )


def staged_module(layer: Layer, wrt: Sequence[str] | None = None) -> str:
    """Return the text of the NumPy module of the staged form."""
    from derive.lower import lower
    from derive.render.numpy import render

    return render(lower(staged_program(layer, wrt)))
