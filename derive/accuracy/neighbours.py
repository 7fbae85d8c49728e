"""Where no arithmetic of a format keeps a bound in ulps: beside a zero, beside a jump, at the edges of the range.

The derivative of ``x*sigmoid(x)`` is a sum of two terms, which crosses 0 at
x = -1.278; there the rounding of the terms is left. And where ``x + 3`` rounds
to 6, ``where(x + 3 < 6, …)`` takes the branch of an input half a unit away.
Both are seen in the exact function: it changes sign within a share of the
input that accounts for the error, or it is another one a rounding away.

At the edges of the range a result may be a normal number though a factor of it
is none: ``x*sigmoid(x)`` at -90 in float32, where the sigmoid is 1e-39. That
is seen in the exact values of the formula's parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sympy import Expr, Mul

from derive.accuracy.reference import Exact, context, keyed
from derive.accuracy.ulps import Format
from derive.algebra.indices import names
from derive.algebra.nodes import Element
from derive.calculus.program import Program
from derive.check.evaluate import Evaluator
from derive.check.instance import Instance
from derive.check.sizes import defaults
from derive.language.layer import Layer, Statement

__all__ = ["explained"]

_SHARES = tuple(2.0**-k for k in (2, 3, 5, 8, 12, 18, 30))
_JUMP = 1e-3
_DIGITS = 80


def explained(
    layer: Layer,
    program: Program,
    name: str,
    inputs: Mapping[str, Any],
    given: Mapping[str, NDArray[Any]],
    excess: Sequence[float],
    moving: Sequence[str],
    form: Format,
) -> dict[int, str]:
    """Return for places beside a zero, a jump, or an edge of the range which it is.

    Args:
        layer, program: what is evaluated.
        name: of the output or gradient.
        inputs: the places, an array a parameter.
        given: the cotangents there.
        excess: the error at each place, as a multiple of the bound.
        moving: the parameters to look along.
        form: the format, whose roundings count.
    """
    length = len(excess)
    found = _leaving_the_range(program, inputs, given, length, form)
    exact = Exact(layer, program, Instance({}, (length,), defaults(layer)), _DIGITS)
    cotangents = {n: keyed(v) for n, v in given.items()}
    mp = exact.context
    steps = (2 * form.epsilon, -2 * form.epsilon, *(sign * share for share in _SHARES for sign in (1, -1)))
    base = {n: keyed(np.asarray(v)) for n, v in inputs.items()}
    here = exact(base, cotangents)[name]
    for parameter in moving:
        for step in steps:
            factor = 1 + mp.mpf(step)
            moved = {**base, parameter: {key: mp.convert(v) * factor for key, v in base[parameter].items()}}
            there = exact(moved, cotangents)[name]
            for k in range(length):
                a, b = here[(k,),], there[(k,),]
                if k in found or not (mp.isfinite(a) and mp.isfinite(b)):
                    continue
                if abs(step) == 2 * form.epsilon:
                    if abs(a - b) > _JUMP * max(abs(a), abs(b)) and a * b >= 0:
                        found[k] = "an argument rounds to the other side of a jump"
                elif a * b < 0 and excess[k] * abs(step) <= 1:
                    at = base[parameter][(k,),] * (1 + step * float(a / (a - b)))
                    found[k] = f"its terms cancel where it crosses 0, near {parameter} = {at:.2g}"
    return found


def _leaving_the_range(
    program: Program, inputs: Mapping[str, Any], given: Mapping[str, NDArray[Any]], length: int, form: Format
) -> dict[int, str]:
    """The places at which a part of the formulas is no normal number though it is not 0, and which."""
    parts: dict[Expr, Statement] = {}
    for statement in (*program.forward, *program.backward):
        for node in _parts(statement.expr):
            if names(node) and not isinstance(node, Element):
                parts.setdefault(node, Statement(f" {len(parts)}", statement.indices, node))
    instance = Instance({}, (length,), defaults(program.layer))
    mp = context(_DIGITS)
    known = {n: keyed(np.asarray(v)) for n, v in {**inputs, **given}.items()}
    values = Evaluator((*program.forward, *program.backward, *parts.values()), instance, mp).run(known)
    found: dict[int, str] = {}
    for statement in parts.values():
        for k in range(length):
            size = abs(values[statement.name][(k,),])
            if k not in found and mp.isfinite(size) and (size > form.most or 0 < size < form.tiny):
                found[k] = f"a part of the formula is {'above' if size > 1 else 'below'} the normal numbers"
    return found


def _parts(expr: Expr) -> Iterator[Expr]:
    """Yield the parts of an expression, and the products of two factors of a product."""
    yield expr
    if isinstance(expr, Mul):
        yield from (Mul(a, b) for a, b in combinations(expr.args, 2))
    for arg in expr.args if not isinstance(expr, Element) else ():
        yield from _parts(arg)
