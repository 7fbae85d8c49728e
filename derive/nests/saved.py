"""What forward keeps for backward: the softmax rather than its logarithm, where backward only takes exponentials.

    logp[n, c] = log_softmax[c](z[n, c])        backward reads exp(logp[n, c])

Then ``p[n, c] = softmax[c](z[n, c])`` is kept, whose exponentials forward has
computed anyway, and backward computes none.
"""

from __future__ import annotations

from dataclasses import replace

from sympy import Expr, exp

from derive.algebra.indices import elements, rebuild
from derive.algebra.nodes import Element, LogSoftmax, Softmax, Tensor
from derive.calculus.program import Program
from derive.language.layer import Statement

__all__ = ["keeping_softmax"]


def keeping_softmax(program: Program, taken: set[str]) -> Program:
    """Return the program with softmaxes for logarithms of which backward reads only exponentials.

    Args:
        program: whose statements are those that are computed.
        taken: names that are in use; new ones are added.
    """
    forward: list[Statement] = []
    known: dict[str, str] = {}
    for statement in program.forward:
        logarithm = isinstance(statement.expr, LogSoftmax) and statement.carry is None
        if logarithm and statement.name not in program.outputs and _only_exponentials(program, statement.name):
            name, number = "p", 2
            while name in taken:
                name, number = f"p{number}", number + 1
            taken.add(name)
            known[statement.name] = name
            forward.append(replace(statement, name=name, expr=Softmax(*statement.expr.args)))
        forward.append(statement)
    if not known:
        return program
    backward = tuple(replace(s, expr=_with(s.expr, known)) for s in program.backward)
    return replace(program, forward=tuple(forward), backward=backward)


def _only_exponentials(program: Program, name: str) -> bool:
    """Return whether backward reads the tensor, and only as ``exp`` of an element."""
    found = False
    for statement in program.backward:
        if statement.carry is not None and any(e.name == name for e in elements(statement.carry.start)):
            return False
        inside, all_of_them = _count(statement.expr, name)
        if inside < all_of_them:
            return False
        found = found or inside > 0
    return found


def _count(expr: Expr, name: str) -> tuple[int, int]:
    """Return how often an element of the tensor stands right inside an exponential, and how often in all."""
    if isinstance(expr, Element) and expr.name == name:
        return 0, 1
    if isinstance(expr, exp) and isinstance(expr.args[0], Element) and expr.args[0].name == name:
        return 1, 1
    counts = [_count(a, name) for a in expr.args]
    return sum(a for a, _ in counts), sum(b for _, b in counts)


def _with(expr: Expr, known: dict[str, str]) -> Expr:
    if not expr.args:
        return expr
    if isinstance(expr, exp) and isinstance(expr.args[0], Element) and expr.args[0].name in known:
        element = expr.args[0]
        return Element(Tensor(known[element.name]), *element.subscripts)
    return rebuild(expr, (_with(a, known) for a in expr.args))
