"""Letting indices run: over all their values, or only where a product of Kronecker deltas is not 0.

The gradient of a window is ``Σ_{p,r} dy[p]·w[r]·δ(i, p*s + r - pad)``. Of the
values of ``p`` and ``r`` all but a few give 0. So ``r`` runs, and ``p`` is
solved for: ``p = (i - r + pad)/s``, where that is whole and in range. Only
indices with whole coefficients are solved for; a delta that has none (a
gather's ``δ(c, t[n])`` with ``n`` running) is looked at as soon as all its
indices have values, and what it multiplies not at all where it is 0. A factor
``where(i == p*s + r, a, 0)`` is taken as ``δ(i, p*s + r)·a``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from sympy import Add, Expr, Mul, S, expand

from derive.algebra.functions import And, Eq, Where
from derive.algebra.indices import free_indices
from derive.algebra.nodes import BATCH_SIZE, Delta, Element, Index, Sum

if TYPE_CHECKING:
    from derive.check.compile import Closure, Compiler

__all__ = ["over_all", "picked", "solved"]

_Values = Callable[[], list[Any]]
_Step = Callable[[list[Any]], None]


def over_all(compiler: Compiler, indices: Sequence[Index], body: Closure) -> _Values:
    """Return a function that gives the body's values over the range, in C order."""
    env = compiler.env
    places = [compiler.slot(i) for i in indices]
    ranges = [compiler.instance.values(i) for i in indices]
    if len(places) == 1:
        (place,), (values,) = places, ranges

        def run() -> list[Any]:
            outer, out = env[place], []
            try:
                for value in values:
                    env[place] = value
                    out.append(body())
            finally:
                env[place] = outer
            return out

        return run

    combinations = list(product(*ranges))

    def run_all() -> list[Any]:
        outer, out = [env[p] for p in places], []
        try:
            for combination in combinations:
                for place, value in zip(places, combination, strict=True):
                    env[place] = value
                out.append(body())
        finally:
            for place, value in zip(places, outer, strict=True):
                env[place] = value
        return out

    return run_all


# Conditions


@dataclass(frozen=True, slots=True)
class _Term:
    """``value`` where both sides of every condition agree, else 0."""

    conditions: tuple[tuple[Expr, Expr], ...]
    value: Expr


def _terms(body: Expr) -> list[_Term]:
    return [_term(part) for part in Add.make_args(body)]


def _term(expr: Expr) -> _Term:
    conditions: list[tuple[Expr, Expr]] = []
    factors: list[Expr] = []
    work = list(Mul.make_args(expr))
    while work:
        factor = work.pop()
        if isinstance(factor, Delta):
            conditions.append(factor.args)
        elif isinstance(factor, Where) and factor.args[2] == 0:
            equal, other = _equalities(factor.args[0])
            conditions += equal
            if not equal:
                factors.append(factor)
            elif other is None:
                work += Mul.make_args(factor.args[1])
            else:
                factors.append(Where(other, factor.args[1], S.Zero))
        else:
            factors.append(factor)
    return _Term(tuple(conditions), Mul(*factors))


def _equalities(condition: Expr) -> tuple[list[tuple[Expr, Expr]], Expr | None]:
    """Split a condition into equations of whole numbers and the rest."""
    if isinstance(condition, And):
        first, rest = _equalities(condition.args[0])
        second, other = _equalities(condition.args[1])
        both = And(rest, other) if rest is not None and other is not None else rest if other is None else other
        return first + second, both
    if isinstance(condition, Eq) and all(side.is_integer for side in condition.args):
        return [condition.args], None
    return [], condition


def _coefficient(condition: tuple[Expr, Expr], index: Index) -> tuple[Expr, Expr] | None:
    """Return ``(a, b)`` with ``a·index + b`` the difference of the sides; None where it is not of that form."""
    difference = expand(condition[0] - condition[1])
    slope = difference.coeff(index, 1)
    rest = expand(difference - slope * index)
    if slope == 0 or index in free_indices(rest) or free_indices(slope) or slope.atoms(Element):
        return None
    return slope, rest


def solved(expr: Sum) -> frozenset[Index]:
    """Return the indices of a sum that need not run, in every term of it."""
    found: list[frozenset[Index]] = []
    for term in _terms(expr.body):
        left, gone = list(expr.indices), set()
        for condition in term.conditions:
            for index in left:
                if _solvable(condition, index):
                    left.remove(index)
                    gone.add(index)
                    break
        found.append(frozenset(gone))
    return frozenset.intersection(*found) if found else frozenset()


def _solvable(condition: tuple[Expr, Expr], index: Index) -> bool:
    if index.size == BATCH_SIZE:
        return index in condition and condition[0] != condition[1]
    return _coefficient(condition, index) is not None


# Running only where it counts


def picked(compiler: Compiler, expr: Sum) -> _Values | None:
    """Return a function that gives the values that are summed, without zeros of deltas; None where there are none."""
    terms = _terms(expr.body)
    if not any(term.conditions for term in terms):
        return None
    runs = [_run(compiler, term, expr.indices) for term in terms]
    env = compiler.env
    places = [compiler.slot(i) for i in expr.indices]

    def run() -> list[Any]:
        outer = [env[p] for p in places]
        out: list[Any] = []
        try:
            for step in runs:
                step(out)
        finally:
            for place, value in zip(places, outer, strict=True):
                env[place] = value
        return out

    return run


def _run(compiler: Compiler, term: _Term, indices: Sequence[Index]) -> _Step:
    """Return a function that appends the values of a term to a list."""
    steps: list[Callable[[_Step], _Step]] = []
    unknown = list(indices)
    waiting = list(term.conditions)
    while unknown or waiting:
        ready = [c for c in waiting if not _in(c, unknown)]
        if ready:
            steps += [_check(compiler, c) for c in ready]
            waiting = [c for c in waiting if c not in ready]
            continue
        solution = _first_solution(compiler, waiting, unknown)
        if solution is not None:
            condition, index, step = solution
            waiting.remove(condition)
        else:
            index = _next_to_run(compiler, waiting, unknown)
            step = _let_run(compiler, index)
        unknown.remove(index)
        steps.append(step)
    value = compiler.closure(term.value)

    def innermost(out: list[Any]) -> None:
        out.append(value())

    result: _Step = innermost
    for step in reversed(steps):
        result = step(result)
    return result


def _in(condition: tuple[Expr, Expr], unknown: Iterable[Index]) -> set[Index]:
    return {i for side in condition for i in free_indices(side)} & set(unknown)


def _first_solution(
    compiler: Compiler, waiting: Sequence[tuple[Expr, Expr]], unknown: Sequence[Index]
) -> tuple[tuple[Expr, Expr], Index, Callable[[_Step], _Step]] | None:
    for condition in waiting:
        left = _in(condition, unknown)
        if len(left) == 1:
            (index,) = left
            step = _solve(compiler, condition, index)
            if step is not None:
                return condition, index, step
    return None


def _next_to_run(compiler: Compiler, waiting: Sequence[tuple[Expr, Expr]], unknown: Sequence[Index]) -> Index:
    """Return an index of the condition that needs fewest, the one with the shortest range; any where none is left."""
    if not waiting:
        return unknown[0]
    nearest = min((_in(c, unknown) for c in waiting), key=len)
    return min((i for i in unknown if i in nearest), key=lambda i: len(compiler.instance.values(i)))


def _let_run(compiler: Compiler, index: Index) -> Callable[[_Step], _Step]:
    env, place, values = compiler.env, compiler.slot(index), compiler.instance.values(index)

    def step(inner: _Step) -> _Step:
        def run(out: list[Any]) -> None:
            for value in values:
                env[place] = value
                inner(out)

        return run

    return step


def _check(compiler: Compiler, condition: tuple[Expr, Expr]) -> Callable[[_Step], _Step]:
    a, b = map(compiler.closure, condition)

    def step(inner: _Step) -> _Step:
        def run(out: list[Any]) -> None:
            if a() == b():
                inner(out)

        return run

    return step


def _solve(compiler: Compiler, condition: tuple[Expr, Expr], index: Index) -> Callable[[_Step], _Step] | None:
    """Return the step that gives the index its only possible value; None where it can't be solved for."""
    env, place = compiler.env, compiler.slot(index)
    if index.size == BATCH_SIZE:
        if not _solvable(condition, index):
            return None
        value = compiler.closure(condition[1] if condition[0] == index else condition[0])
        inside = frozenset(compiler.instance.values(index))

        def step(inner: _Step) -> _Step:
            def run(out: list[Any]) -> None:
                at = value()
                if at in inside:
                    env[place] = at
                    inner(out)

            return run

        return step
    form = _coefficient(condition, index)
    if form is None:
        return None
    slope, offset = compiler.closure(form[0])(), compiler.closure(form[1])
    length = len(compiler.instance.values(index))
    if not isinstance(slope, int) or slope == 0:
        return None

    def linear(inner: _Step) -> _Step:
        def run(out: list[Any]) -> None:
            at, remainder = divmod(-offset(), slope)
            if remainder == 0 and 0 <= at < length:
                env[place] = int(at)
                inner(out)

        return run

    return linear
