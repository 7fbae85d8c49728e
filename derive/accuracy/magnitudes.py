"""How large the numbers are that a result adds up.

The gradient of a saturated softmax is next to nothing: terms of the size of
the cotangent cancel. No floating-point arithmetic gives such a number to a
relative error; what is right is right to a share of the terms. They are had by
evaluating the backward with every difference as a sum of absolute values:

    dz[c] = p[c]*(dy[c] - sum[k](dy[k]*p[k]))   ⟶   |p[c]|*(|dy[c]| + sum[k](|dy[k]|*|p[k]|))

Source: Higham, "Accuracy and Stability of Numerical Algorithms", 2002, section 3.1.
"""

from __future__ import annotations

from dataclasses import replace

from sympy import Abs, Add, Expr, Mul, Pow

from derive.accuracy.reference import context
from derive.algebra.functions import Where
from derive.algebra.indices import rebuild
from derive.algebra.nodes import Delta, Element, Mean, Padded, Sum
from derive.calculus.program import Program
from derive.check.evaluate import Evaluator
from derive.check.samples import Sample
from derive.language.layer import Statement

__all__ = ["magnitudes"]

_DIGITS = 30


def magnitudes(program: Program, at: Sample) -> dict[str, float]:
    """Return for every output and gradient, by the code's name, the largest sum of absolute values of what it adds up.

    Those of an output are the terms of its own statement, those of a gradient
    are followed through the whole backward.
    """
    adjoints = frozenset(s.name for s in program.backward)
    outputs = [s for s in program.forward if s.name in program.outputs and s.carry is None]
    own = [replace(_absolute_statement(s, frozenset()), name=f"{s.name} ") for s in outputs]
    backward = [_absolute_statement(s, adjoints) for s in program.backward]
    statements = (*program.forward, *own, *backward)
    run = Evaluator(statements, at.instance, context(_DIGITS)).run({**at.inputs, **at.cotangents})
    names = {s.name: f"{s.name} " for s in outputs} | {f"d{p}": name for p, name in program.gradients}
    return {field: max((float(abs(v)) for v in run[name].values()), default=0.0) for field, name in names.items()}


def _absolute_statement(statement: Statement, adjoints: frozenset[str]) -> Statement:
    carry = statement.carry
    if carry is not None:
        carry = replace(carry, start=_absolute(carry.start, adjoints))
    return replace(statement, expr=_absolute(statement.expr, adjoints), carry=carry)


def _absolute(expr: Expr, adjoints: frozenset[str]) -> Expr:
    """The expression with absolute values of all terms; adjoints are absolute values already."""
    if isinstance(expr, (Add, Mul, Sum, Mean)):
        bound = expr.args[1:] if isinstance(expr, (Sum, Mean)) else ()
        args = expr.args[:1] if bound else expr.args
        return rebuild(expr, (*(_absolute(a, adjoints) for a in args), *bound))
    if isinstance(expr, Pow) and expr.exp.is_number and expr.exp.is_positive:
        return Pow(_absolute(expr.base, adjoints), expr.exp)
    if isinstance(expr, Where):
        condition, a, b = expr.args
        return Where(condition, _absolute(a, adjoints), _absolute(b, adjoints))
    read = expr.element if isinstance(expr, Padded) else expr
    if isinstance(read, Element) and read.name in adjoints:
        return expr
    if expr.is_number:
        return abs(expr)
    return expr if isinstance(expr, Delta) else Abs(expr)
