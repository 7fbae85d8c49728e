"""The steps of a simplification, as data with reasons."""

from __future__ import annotations

from collections.abc import Sequence

from sympy import Add, Mul

from derive.algebra.indices import substitute
from derive.algebra.letters import readable
from derive.algebra.nodes import Element, Index
from derive.algebra.terms import Terms, as_expr
from derive.calculus.program import Equation, Stage, Step
from derive.language.layer import Statement
from derive.simplify.closing import Closed
from derive.simplify.facts import Fact
from derive.simplify.lines import indices_of

__all__ = ["by_facts", "closing_steps", "result_step", "rewritten"]


def closing_steps(closed: Sequence[Closed]) -> list[Step]:
    """Return the steps that led from the staged adjoints to the closed ones, each fact before its use."""
    seen: set[int] = set()
    steps: list[Step] = []
    for entry in closed:
        target = entry.adjoint.target
        for fact in entry.facts:
            steps += _fact_steps(fact, seen)
        if entry.inlined:
            reason = f"write out {', '.join(entry.inlined)}"
            if _sums(entry.before) < _sums(entry.adjoint.terms):
                reason += "; a Kronecker delta picks one term of its sum"
            steps.append(rewritten(target, entry.before, reason))
        if entry.facts:
            steps.append(by_facts(target, entry.terms, entry.facts))
    return steps


def _sums(terms: Terms) -> int:
    return sum(len(t.bound) for t in terms)


def by_facts(target: Element, terms: Terms, facts: Sequence[Fact]) -> Step:
    """Return the step to ``target = terms`` that used the facts."""
    equations = tuple(_equation(f) for f in facts)
    holes = ", ".join(f"{{{k}}}" for k in range(len(equations)))
    why = "; ".join(dict.fromkeys(f.reason for f in facts))
    if all(f.source for f in facts):
        why = "what has a line of its own is computed anyway"
    return rewritten(target, terms, f"use {holes}: {why}", equations)


def rewritten(target: Element, terms: Terms, reason: str, formulas: tuple[Equation, ...] = ()) -> Step:
    """Return the step to ``target = terms``."""
    return Step(Stage.SIMPLIFY, target, readable(as_expr(terms), indices_of(target)), reason, formulas)


def result_step(statement: Statement) -> Step:
    """Return the last step of an adjoint: the formula that is computed."""
    expr = statement.expr
    factored = not isinstance(expr, Add) and any(isinstance(f, Add) for f in Mul.make_args(expr))
    reason = "common factors taken out" if factored else "as it is computed"
    return Step(Stage.RESULT, statement.target, expr, reason)


def _equation(fact: Fact) -> Equation:
    free = {v: _plain(v) for v in fact.variables - frozenset(fact.summed)}
    left = substitute(as_expr((fact.left(),)), free)
    right = substitute(as_expr((fact.result,) if fact.result else ()), free)
    taken = tuple(i for i in free.values() if isinstance(i, Index))
    return Equation(readable(left, taken), readable(right, taken))


def _plain(index: Index) -> Index:
    return Index(index.name.partition("'")[0], index.size)


def _fact_steps(fact: Fact, seen: set[int]) -> list[Step]:
    """A fact, after the facts it rests on: what was summed, and why it collapses."""
    if id(fact) in seen:
        return []
    seen.add(id(fact))
    steps = [step for earlier in fact.through for step in _fact_steps(earlier, seen)]
    equation = _equation(fact)
    if fact.origin is None:
        return [*steps, Step(Stage.FACT, equation.lhs, equation.rhs, fact.reason)]
    formulas = (Equation(fact.origin.target, fact.origin.expr), *map(_equation, fact.through))
    holes = " and ".join(f"{{{k}}}" for k in range(1, len(formulas)))
    reason = f"{fact.reason}: sum both sides of {{0}} and use {holes}"
    return [*steps, Step(Stage.FACT, equation.lhs, equation.rhs, reason, formulas)]
