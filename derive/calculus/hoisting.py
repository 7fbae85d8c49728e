"""What a loop need not repeat: parts that read nothing of it are computed before it, for all steps at once.

    h[t, n, j] = tanh(sum[i](x[t, n, i]*wx[i, j]) + b[j] + sum[k](h[t - 1, n, k]*wh[k, j]))

becomes

    h_in[t, n, j] = b[j] + sum[i](x[t, n, i]*wx[i, j])
    h[t, n, j]    = tanh(h_in[t, n, j] + sum[k](h[t - 1, n, k]*wh[k, j]))

so that the products with all inputs are one product, and by the chain rule the
gradients of x, wx and b are too. Nothing is taken out from under a reduction:
it would have to be stored with the reduced axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from sympy import Add, Expr, Mul, S

from derive.algebra.functions import BY_CLASS, Where
from derive.algebra.indices import elements, free_indices, is_binder, names, rebuild
from derive.algebra.nodes import Delta, Element, Padded
from derive.language.layer import Statement
from derive.language.loops import Loop, flat, loops

__all__ = ["hoisted"]


def hoisted(
    statements: Sequence[Statement], choose: Callable[[str], str]
) -> tuple[tuple[Statement, ...], tuple[Statement, ...]]:
    """Return the statements with such parts named, in an order of computation, and the new ones among them.

    Args:
        statements: each name assigned once.
        choose: makes a name that is not taken from a wish.
    """
    pieces = loops(statements)
    if not any(isinstance(piece, Loop) for piece in pieces):
        return flat(pieces), ()
    result: list[Statement] = []
    made: list[Statement] = []
    for piece in pieces:
        if isinstance(piece, Loop):
            work = _Hoisting(piece, choose)
            inside = [work.statement(s) for s in piece.statements]
            result += [*work.made, *inside]
            made += work.made
        else:
            result.append(piece)
    return flat(loops(result)), tuple(made)


class _Hoisting:
    """The parts of one loop that have been given names."""

    def __init__(self, loop: Loop, choose: Callable[[str], str]) -> None:
        self._loop = loop
        self._choose = choose
        self._known: dict[Expr, Element] = {}
        self._current = loop.statements[0]
        self.made: list[Statement] = []

    def statement(self, statement: Statement) -> Statement:
        """Return the statement with the parts that read nothing of the loop read by name."""
        if not statement.kind.differentiable:
            return statement
        self._current = statement
        return replace(statement, expr=self._visit(statement.expr))

    def _outside(self, expr: Expr) -> bool:
        return not names(expr) & self._loop.names

    def _visit(self, expr: Expr) -> Expr:
        if self._outside(expr):
            return self._named(expr, "in")
        if not expr.args or is_binder(expr) or isinstance(expr, (Element, Padded)):
            return expr
        if isinstance(expr, Where):
            condition, *branches = expr.args
            return rebuild(expr, (condition, *map(self._visit, branches)))
        if isinstance(expr, (Add, Mul)):
            free = [a for a in expr.args if self._outside(a) and not isinstance(a, Delta)]
            if isinstance(expr, Mul):
                free = _without_narrow(free, [a for a in expr.args if a not in free])
            rest = [a if isinstance(a, Delta) else self._visit(a) for a in expr.args if a not in free]
            if free:
                whole = self._named(expr.func(*free), "in" if isinstance(expr, Add) else "factor")
                return expr.func(whole, *rest)
            return rebuild(expr, rest)
        return rebuild(expr, map(self._visit, expr.args))

    def _named(self, expr: Expr, what: str) -> Expr:
        if not _is_work(expr):
            return expr
        number, rest = expr.as_coeff_Mul()
        if number == -1 and not isinstance(rest, Add):
            return -self._named(rest, what)
        if expr not in self._known:
            current = self._current
            free = free_indices(expr)
            indices = tuple(i for i in current.indices if i in free)
            statement = Statement(self._choose(f"{current.name}_{what}"), indices, expr)
            self.made.append(statement)
            self._known[expr] = statement.target
        return self._known[expr]


def _without_narrow(free: list[Expr], rest: list[Expr]) -> list[Expr]:
    """Leave out the factors that are cheaper inside the loop: their indices are those of a part of the rest.

    ``where(t == 0, 0, 1)[t]·p[t, k, j]·d[t, k]``, the last of the loop: the first costs a
    pass over [T, K, J] outside, with p, and one over [K] a step inside, with d.
    """
    wide = free_indices(Mul(*free))
    narrow = [free_indices(r) for r in rest if free_indices(r) < wide]
    return [f for f in free if not free_indices(f) or not any(free_indices(f) <= n for n in narrow)]


def _has_reduction(expr: Expr) -> bool:
    return is_binder(expr) or any(map(_has_reduction, expr.args))


def _is_work(expr: Expr) -> bool:
    """Whether computing an expression for all steps pays: it is more than a read, and no condition or delta.

    An outer product is none: for all steps it would be far larger than what it is made of.
    """
    if not names(expr) or isinstance(expr, (Element, Padded, Delta)):
        return False
    if not _has_reduction(expr) and all(free_indices(e) < free_indices(expr) for e in elements(expr)):
        return False
    row = BY_CLASS.get(type(expr))
    if row is not None and row.infix:
        return False
    if isinstance(expr, Mul):
        return sum(f is not S.NegativeOne for f in expr.args) > 1 or any(map(_is_work, expr.args))
    return True
