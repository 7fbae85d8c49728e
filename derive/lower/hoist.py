"""What a loop need not compute: it is computed for all steps before it.

    h[t, n] = tanh(h[t-1, n] + sum[i](x[t, n, i]*w[i]) + b)
    h_in[t, n] = sum[i](x[t, n, i]*w[i]) + b      before the loop: one matrix product
    h[t, n] = tanh(h[t-1, n] + h_in[t, n])

A part of a statement that reads no name of the loop goes before it where it is
a reduction, a padded read or a place that only some steps have, and where it
does not depend on the step. What is elementwise stays: a pass over all steps
at once leaves the cache and comes back.
"""

from __future__ import annotations

from dataclasses import replace

from sympy import Add, Expr, Mul

from derive.algebra.functions import BY_CLASS, Guard, Where
from derive.algebra.indices import free_indices, names, rebuild
from derive.algebra.nodes import (
    BATCH,
    Delta,
    Element,
    Index,
    KeepingReduction,
    Kind,
    Padded,
    Reduction,
    Tensor,
)
from derive.language.layer import Statement
from derive.language.loops import Loop
from derive.lower.layout import natural_order
from derive.lower.scalars import is_number

__all__ = ["hoisted"]

_WHOLE = (Reduction, KeepingReduction, Padded)


def hoisted(loop: Loop, taken: set[str]) -> tuple[list[Statement], Loop]:
    """Return the statements that go before a loop, and the rest of it; new names are added to ``taken``."""
    hoister = _Hoister(loop, taken)
    statements = tuple(replace(s, expr=hoister.visit(s.expr, s.name)) for s in loop.statements)
    return hoister.statements, replace(loop, statements=statements)


class _Hoister:
    def __init__(self, loop: Loop, taken: set[str]) -> None:
        self.loop = loop
        self.taken = taken
        self.statements: list[Statement] = []
        self.known: dict[Expr, Expr] = {}

    def visit(self, expr: Expr, name: str) -> Expr:
        """Return an expression that reads the loop's names, with the parts that do not replaced."""
        if not expr.args or isinstance(expr, (Element, Padded)):
            return expr
        if self._apart(expr):
            return self._named(expr, f"{name}_factor") if self._pays(expr) else expr
        if isinstance(expr, Add):
            apart = Add(*(a for a in expr.args if self._apart(a)))
            rest = [self.visit(a, name) for a in expr.args if not self._apart(a)]
            return Add(self._named(apart, f"{name}_in") if self._pays(apart) else apart, *rest)
        if isinstance(expr, (Mul, Reduction)) or type(expr) in BY_CLASS or isinstance(expr, (Where, Guard)):
            return rebuild(expr, (self.visit(a, name) for a in expr.args))
        if isinstance(expr, KeepingReduction):
            return expr.func(self.visit(expr.body, name), expr.indices, expr.at)
        return expr

    def _apart(self, expr: Expr) -> bool:
        return not names(expr) & self.loop.names

    def _pays(self, expr: Expr) -> bool:
        if isinstance(expr, (Element, Index)) or is_number(expr) or not names(expr) or _is_truth(expr):
            return False
        if any(expr.has(node) for node in _WHOLE) or expr.has(Delta):
            return True
        free = free_indices(expr)
        return bool(free) and self.loop.index not in free

    def _named(self, expr: Expr, stem: str) -> Expr:
        if expr not in self.known:
            free = natural_order([expr])
            time = self.loop.index
            rank = {BATCH: 0, time: 1}
            indices = tuple(sorted(free, key=lambda i: rank.get(i, 2)))
            name, number = stem, 2
            while name in self.taken:
                name, number = f"{stem}{number}", number + 1
            self.taken.add(name)
            kind = Kind.INT if expr.is_integer else Kind.REAL
            self.statements.append(Statement(name, indices, expr, kind))
            self.known[expr] = Element(Tensor(name, kind), *indices)
        return self.known[expr]


def _is_truth(expr: Expr) -> bool:
    from derive.lower.expressions import is_truth

    return is_truth(expr)
