"""What forward keeps for backward, and what backward reads of it.

The softmax is kept rather than its logarithm, where backward only takes exponentials:

    logp[n, c] = log_softmax[c](z[n, c])        backward reads exp(logp[n, c])

Then ``p[n, c] = softmax[c](z[n, c])`` is kept, whose exponentials forward has
computed anyway, and backward computes none; a result of the layer's own too:
an exponential costs more than to write and read an element.

    y[..., d] = gamma[d]*xhat[..., d]           backward reads y, and gamma and xhat as well

Then backward computes ``y`` again: a product costs less than to read as much as ``xhat`` once more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sympy import Expr, Mul, exp

from derive.algebra.functions import Sigmoid
from derive.algebra.indices import elements, rebuild, substitute
from derive.algebra.nodes import Element, Index, LogSoftmax, Padded, Softmax, Tensor
from derive.calculus.program import Program
from derive.language.layer import Statement

__all__ = ["keeping_softmax", "reading_less"]


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
        if logarithm and _only_exponentials(program, statement.name):
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


def reading_less(program: Program) -> Program:
    """Return the program with forward values computed again in backward, where that reads all that they are made of.

    These are products of two or three elements, and functions of one element of which backward computes the same of
    it or of its negative: ``sigmoid(x)`` beside ``sigmoid(-x)``, which have their exponential in common.
    """
    made = {s.name: s for s in program.forward if s.carry is None}
    read: set[str] = set()
    for statement in program.backward:
        read |= {e.name for e in elements(statement.expr)}
    backward = program.backward
    for name in sorted(read & made.keys()):
        own = made[name]
        factors = Mul.make_args(own.expr)
        plain = all(isinstance(f, Element) and all(isinstance(s, Index) for s in f.subscripts) for f in factors)
        if not plain or not 2 <= len(factors) <= 3 or not set(map(_name, factors)) <= read - {name}:
            continue
        if _is_plain(backward, name):
            backward = _computing(backward, own)
    for name in sorted(read & made.keys()):
        own = made[name]
        if isinstance(own.expr, Sigmoid) and isinstance(own.expr.args[0], Element) and _is_plain(backward, name):
            other = Sigmoid(-own.expr.args[0])
            if any(s.expr.has(other) and any(e.name == name for e in elements(s.expr)) for s in backward):
                backward = _computing(backward, own)
    return replace(program, backward=backward)


def _computing(statements: Iterable[Statement], made: Statement) -> tuple[Statement, ...]:
    """Return the statements with a forward value as it is computed."""
    return tuple(replace(s, expr=_again(s.expr, {made.name: made})) for s in statements)


def _name(element: Expr) -> str:
    assert isinstance(element, Element)
    return element.name


def _is_plain(statements: Iterable[Statement], name: str) -> bool:
    """Return whether all reads of a tensor are at letters, and none is in the start of a recurrence or padded."""
    for statement in statements:
        if statement.carry is not None and any(e.name == name for e in elements(statement.carry.start)):
            return False
        if any(p.element.name == name for p in statement.expr.atoms(Padded)):
            return False
        reads = [e for e in elements(statement.expr) if e.name == name]
        if any(not isinstance(s, Index) for e in reads for s in e.subscripts):
            return False
    return True


def _again(expr: Expr, made: dict[str, Statement]) -> Expr:
    if not expr.args:
        return expr
    if isinstance(expr, Element) and expr.name in made:
        own = made[expr.name]
        return substitute(own.expr, dict(zip(own.indices, expr.subscripts, strict=True)))
    return rebuild(expr, (_again(a, made) for a in expr.args))


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
