"""Gradients of elementwise layers that keep their digits where the layer saturates.

A derivative is written in the function's own value where it can be, because
that is there already: ``1 - y**2`` for tanh, ``y*(1 - y)`` for the sigmoid.
Where y is close to 1 these are differences of nearly equal numbers: at x = 9
the gradient of tanh in float32 is off by half, beyond it is 0. In a network
nobody sees it, for it is added to others that are a million times as large; of
an elementwise layer it is the result. So there, and only there, the value is
written out again and the difference rewritten:

    dx[...] = dy[...]*(1 - y[...]**2)   ⟶   dx[...] = 4*dy[...]*exp(-2*abs(x[...]))/(1 + exp(-2*abs(x[...])))**2

Frameworks take the first form. The second costs an exponential.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from sympy import Add, Expr, tanh

from derive.algebra.functions import Sigmoid
from derive.algebra.indices import elements, is_binder, rebuild, substitute
from derive.algebra.nodes import Element
from derive.calculus.program import Equation, Stage, Step
from derive.language.layer import Layer, Statement
from derive.stability.elementwise import SATURATIONS
from derive.stability.rewrite import Firing, Rewriter
from derive.stability.rule import Phase

__all__ = ["SATURATION", "is_elementwise", "unsaturated"]

SATURATION = Phase("saturation", SATURATIONS, (Add,))


def is_elementwise(layer: Layer) -> bool:
    """Return whether every number of a result depends on the numbers at its own place alone."""
    first = layer.statements[0].indices
    axes = {tuple(i.size for i in first), ()}
    plain = all(s.carry is None and s.indices == first and not _reduces(s.expr) for s in layer.statements)
    return plain and all(p.axes in axes for p in layer.parameters)


def _reduces(expr: Expr) -> bool:
    return is_binder(expr) or any(map(_reduces, expr.args))


def unsaturated(
    layer: Layer, forward: Sequence[Statement], backward: Sequence[Statement]
) -> tuple[tuple[Statement, ...], tuple[Step, ...]]:
    """Return the backward of an elementwise layer without such differences, and a step a changed statement.

    Args:
        layer: any; that of one which is not elementwise stays as it is.
        forward: the statements that define what the backward reads.
        backward: the adjoint statements.
    """
    if not is_elementwise(layer):
        return tuple(backward), ()
    values = {s.name: s for s in forward if isinstance(s.expr, (tanh, Sigmoid))}
    statements, steps = [], []
    for statement in backward:
        rewriter = Rewriter(SATURATION, None)
        expr = rewriter.rewrite(_written_out(statement.expr, values))
        if rewriter.firings:
            expr = _read_again(expr, values.values())
            statement = replace(statement, expr=expr)
            steps.append(_step(statement, rewriter.firings))
        statements.append(statement)
    return tuple(statements), tuple(steps)


def _written_out(expr: Expr, values: Mapping[str, Statement]) -> Expr:
    """The expression with saturating values written out in sums with a number: ``1 - y**2``."""
    if isinstance(expr, Element) or not expr.args:
        return expr
    new = rebuild(expr, (_written_out(a, values) for a in expr.args))
    if not isinstance(new, Add) or new.as_coeff_Add()[0] == 0:
        return new
    written = {
        e: substitute(values[e.name].expr, dict(zip(values[e.name].indices, e.subscripts, strict=True)))
        for e in elements(new)
        if e.name in values
    }
    candidate = substitute(new, written) if written else new
    trial = Rewriter(SATURATION, None)
    trial.rewrite(candidate)
    return candidate if trial.firings else new


def _read_again(expr: Expr, values: Iterable[Statement]) -> Expr:
    """The expression with what still stands for a value read by its name."""
    return substitute(expr, {s.expr: s.target for s in values})


def _step(statement: Statement, firings: Sequence[Firing]) -> Step:
    formulas = tuple(dict.fromkeys(Equation(f.before, f.after) for f in firings))
    whys = dict.fromkeys(f.rule.why for f in firings)
    holes = " and ".join(f"{{{k}}}" for k in range(len(formulas)))
    return Step(Stage.RESULT, statement.target, statement.expr, f"{holes}: {'; '.join(whys)}", formulas)
