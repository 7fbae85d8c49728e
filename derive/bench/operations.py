"""A layer with one operation an equation, as one writes it who differentiates by hand, step by step.

``y[n, d] = gamma[d]*(x[n, d] - mu[d])*rstd[d] + beta[d]`` becomes a difference,
two products and a sum, and ``softmax`` its exponentials, their sum and a
division. Matrix products stay whole, and so do reads of any kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from sympy import Add, Expr, Mul, Pow, S
from sympy import exp as Exp
from sympy import log as Log

from derive.algebra.functions import BY_CLASS, StopGradient
from derive.algebra.indices import free_indices, fresh, rebuild, substitute
from derive.algebra.nodes import (
    BATCH,
    Element,
    Index,
    Kind,
    LogSoftmax,
    LogSumExp,
    Max,
    Mean,
    Norm,
    Padded,
    Reduction,
    Softmax,
    Std,
    Sum,
    Tensor,
    Var,
)
from derive.language.layer import Layer, Statement

__all__ = ["one_by_one"]


def one_by_one(layer: Layer) -> Layer:
    """Return the layer with an equation for every operation on arrays, under names of its own."""
    work = _Splitter(layer)
    for statement in layer.statements:
        work.split(statement)
    return replace(layer, statements=tuple(work.done), calls=())


class _Splitter:
    """The equations so far."""

    def __init__(self, layer: Layer) -> None:
        self.done: list[Statement] = []
        self.taken = {p.name for p in layer.parameters} | {s.name for s in layer.statements}
        self.taken |= {s.name for s in (*layer.sizes, *(d.size for d in layer.derived))} | {
            h.name for h in layer.hypers
        }

    def split(self, statement: Statement) -> None:
        """Add a statement, and before it those of its operands."""
        self.base = statement.name
        scope = statement.indices
        self.done.append(replace(statement, expr=self._operands(_spelled(statement.expr), scope)))

    def _named(self, expr: Expr, scope: Sequence[Index]) -> Expr:
        """Return an element of a new array with the value of an expression, or the expression where it is no array."""
        if not _is_operation(expr):
            return expr
        expr = self._operands(_spelled(expr), scope)
        free = free_indices(expr)
        # A batch comes first in every array.
        indices = tuple(sorted((i for i in scope if i in free), key=lambda i: i != BATCH))
        number = 1
        while f"{self.base}_{number}" in self.taken:
            number += 1
        name = f"{self.base}_{number}"
        self.taken.add(name)
        found = Statement(name, indices, expr)
        self.done.append(found)
        return Element(Tensor(name, Kind.REAL), *indices)

    def _operands(self, expr: Expr, scope: Sequence[Index]) -> Expr:
        """Return the expression with its operands named."""
        if not _is_operation(expr) or _is_truth(expr):
            return expr
        if isinstance(expr, Reduction):
            inner = (*scope, *(i for i in expr.indices if i not in scope))
            if _is_product(expr):
                body = Mul(*(self._named(a, inner) for a in Mul.make_args(expr.body)))
            else:
                body = self._named(expr.body, inner)
            return rebuild(expr, (body, *expr.indices))
        if isinstance(expr, (Add, Mul)):
            return self._chain(expr, scope)
        if isinstance(expr, Pow):
            return Pow(self._named(expr.base, scope), expr.exp)
        if type(expr) in BY_CLASS:
            return rebuild(expr, [a if _is_truth(a) else self._named(a, scope) for a in expr.args])
        return expr

    def _chain(self, expr: Expr, scope: Sequence[Index]) -> Expr:
        """Return a sum or product of two arrays, those before them named: numbers stay with the last."""
        arrays = [a for a in expr.args if _is_array(a)]
        numbers = [a for a in expr.args if not _is_array(a)]
        arrays.sort(key=lambda a: len(free_indices(a)))
        named = [self._factor(a, scope) for a in arrays]
        while len(named) > 2:
            a, b, *named = named
            named.insert(0, self._named(expr.func(a, b), scope))
        return expr.func(*numbers, *named)

    def _factor(self, expr: Expr, scope: Sequence[Index]) -> Expr:
        """Return an operand of a sum or product: a division and a change of sign belong to that."""
        if isinstance(expr, Pow) and expr.exp is S.NegativeOne:
            return 1 / self._named(expr.base, scope)
        if isinstance(expr, Mul) and expr.args[0] is S.NegativeOne and len(expr.args) == 2:
            return -self._named(expr.args[1], scope)
        return self._named(expr, scope)


def _is_array(expr: Expr) -> bool:
    return bool(expr.atoms(Element))


def _is_truth(expr: Expr) -> bool:
    row = BY_CLASS.get(type(expr))
    return row is not None and row.infix


def _is_operation(expr: Expr) -> bool:
    return bool(expr.args) and not isinstance(expr, (Element, Padded)) and _is_array(expr)


def _is_product(expr: Reduction) -> bool:
    """Return whether a sum is a matrix product: no factor has all the indices."""
    letters = [free_indices(a) for a in Mul.make_args(expr.body) if free_indices(a)]
    every = frozenset[Index]().union(*letters)
    return isinstance(expr, Sum) and len(letters) > 1 and not any(each == every for each in letters)


def _softmax(expr: Softmax) -> Expr:
    e = _exponential(expr.body, expr.indices)
    return substitute(e, dict(zip(expr.indices, expr.at, strict=True))) / _total(expr.body, expr.indices)


def _exponential(body: Expr, bound: Sequence[Index]) -> Expr:
    return Exp(body - StopGradient(_reduced(Max, body, bound)))


def _total(body: Expr, bound: Sequence[Index]) -> Expr:
    return _reduced(Sum, _exponential(body, bound), bound)


def _reduced(kind: type[Reduction], body: Expr, bound: Sequence[Index]) -> Expr:
    """Return a reduction with letters of its own."""
    taken = free_indices(body)
    mapping = {i: fresh(i, taken) for i in bound}
    return kind(substitute(body, mapping), *mapping.values())


def _logsumexp(body: Expr, bound: Sequence[Index]) -> Expr:
    return Log(_total(body, bound)) + StopGradient(_reduced(Max, body, bound))


def _log_softmax(expr: LogSoftmax) -> Expr:
    return substitute(expr.body, dict(zip(expr.indices, expr.at, strict=True))) - _logsumexp(expr.body, expr.indices)


def _variance(expr: Reduction) -> Expr:
    return Mean((expr.body - _reduced(Mean, expr.body, expr.indices)) ** 2, *expr.indices)


_SPELLED: dict[type, Callable[..., Expr]] = {
    Softmax: _softmax,
    LogSoftmax: _log_softmax,
    LogSumExp: lambda e: _logsumexp(e.body, e.indices),
    Var: _variance,
    Std: lambda e: _variance(e) ** S.Half,
    Norm: lambda e: Sum(e.body**2, *e.indices) ** S.Half,
}
"""What stands for several operations, in terms of them."""


def _spelled(expr: Expr) -> Expr:
    rule = _SPELLED.get(type(expr))
    return expr if rule is None else rule(expr)
