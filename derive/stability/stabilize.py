"""Bring a layer's forward statements to stable primitives: the same mathematics, other functions.

    p[n, c] = exp(z[n, c])/sum[k](exp(z[n, k]))       p[n, c]    = softmax[c](z[n, c])
    logp[n, c] = log(p[n, c])                     →   logp[n, c] = log_softmax[c](z[n, c])
    loss = -mean[n](logp[n, t[n]])                    loss = -mean[n](logp[n, t[n]])

The derivatives of the stable primitives are stable too, so this is done before
differentiation. What no rule recognises stays as the user wrote it, as the
very same object: a maximum subtracted for its own sake, an ``eps`` in a root,
a mean of squared deviations. Statements that nobody reads afterwards are
dropped; what the layer returns keeps its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from sympy import Expr, Mul, cosh, erf, exp, log, tanh

from derive.algebra.functions import Ge, Gt, Le, Log1p, LogSigmoid, Lt, Minimum, Sigmoid, Softplus, Where, XLogY
from derive.algebra.indices import elements, free_indices, names, substitute, substitute_elements
from derive.algebra.nodes import (
    Element,
    Index,
    KeepingReduction,
    LogSoftmax,
    LogSumExp,
    Mean,
    Norm,
    Reduction,
    Softmax,
    Std,
    Sum,
    Var,
)
from derive.calculus.program import Equation, Stage, Step
from derive.language.layer import Layer, Statement
from derive.stability.elementwise import DIFFERENCES, LOGS, PRODUCTS, REMAINDERS
from derive.stability.exponentials import LOGARITHMS, QUOTIENTS, REMAINING_QUOTIENTS, SHIFTS
from derive.stability.guards import GUARDS
from derive.stability.matching import factors, place
from derive.stability.moments import MOMENTS, NORMS
from derive.stability.rewrite import Definitions, Firing, Rewriter
from derive.stability.rule import Phase

__all__ = ["PHASES", "stabilize"]

RECOGNISE = Phase(
    "recognise",
    (*LOGS, *LOGARITHMS, *QUOTIENTS, *PRODUCTS, *SHIFTS, *DIFFERENCES, *NORMS, *MOMENTS),
    (exp, log, Log1p, erf, cosh, tanh, Sigmoid, Softplus, Var, Std, Softmax, LogSoftmax, LogSumExp, Sum, Mean),
)
REMAINING = Phase("remaining", (*REMAINING_QUOTIENTS, *REMAINDERS), (exp, log, cosh, Softplus))
GUARD = Phase("guard", GUARDS, (Where, Minimum, Lt, Le, Gt, Ge))

PHASES: tuple[Phase, ...] = (RECOGNISE, REMAINING, GUARD)

_REUSED = (Softmax, LogSoftmax, LogSumExp, Sigmoid, LogSigmoid, Softplus, Norm, exp, tanh, XLogY)


def stabilize(layer: Layer) -> tuple[Layer, tuple[Step, ...]]:
    """Return the layer with its statements rewritten to stable primitives, and one step a changed statement.

    The layer itself is returned where nothing changes.
    """
    work = _Work(layer)
    for phase in PHASES:
        if any(_has(s.expr, phase.needs) for s in work.statements):
            work.apply(phase)
    statements = work.statements
    if statements == list(layer.statements):
        return layer, ()
    return replace(layer, statements=tuple(statements)), tuple(work.steps)


def _has(expr: Expr, heads: tuple[type[Expr], ...]) -> bool:
    return isinstance(expr, heads) or any(_has(a, heads) for a in expr.args)


class _Work:
    """The statements on their way, and what has been done to each."""

    def __init__(self, layer: Layer) -> None:
        self._layer = layer
        self.steps: list[Step] = []
        self._named: dict[str, Statement] = {}
        self.statements = [s for statement in layer.statements for s in self._with_start(statement)]

    def apply(self, phase: Phase) -> None:
        """Apply one phase to every statement in order, then drop what is no longer read."""
        definitions = Definitions(phase)
        todo = list(self.statements)
        done: list[Statement] = []
        while todo:
            statement = todo.pop(0)
            if statement.kind.differentiable:
                statement = self._reading_new_means(statement, done)
                rewriter = Rewriter(phase, definitions)
                expr = rewriter.rewrite(statement.expr)
                if rewriter.firings and expr != statement.expr:
                    old = frozenset(_nodes(statement.expr))
                    expr = _reusing(expr, old, definitions)
                    expr = self._naming_means(expr, old, done, todo, definitions)
                    expr = self._naming_gathered(expr, old, done, definitions)
                    statement = self._reading_new_means(replace(statement, expr=expr), done)
                    self._note(statement, rewriter.firings)
            done.append(statement)
            definitions.add(statement)
        self.statements = self._live(done)

    def _with_start(self, statement: Statement) -> Iterator[Statement]:
        """Yield a recurrence whose start is a formula after a statement for that formula."""
        carry = statement.carry
        if carry is not None and carry.start.args and not isinstance(carry.start, Element):
            rest = tuple(i for i in statement.indices if i != carry.index)
            start = Statement(self._fresh_name(f"{statement.name}_start", carry.start), rest, carry.start)
            self._named[start.name] = start
            yield start
            statement = replace(statement, carry=replace(carry, start=start.target))
        yield statement

    def _live(self, statements: list[Statement]) -> list[Statement]:
        """The statements that are returned or read by one of these; those that nobody read at first stay too."""
        if not self.steps:
            return statements
        before = {name for s in self._layer.statements for name in names(s.expr)}
        work = [*self._layer.returns, *(s.name for s in self._layer.statements if s.name not in before)]
        defined = {s.name: s for s in statements}
        live: set[str] = set()
        while work:  # a recurrence may be read, at earlier elements, before its own statement only
            name = work.pop()
            if name in live or name not in defined:
                continue
            live.add(name)
            statement = defined[name]
            work += names(statement.expr)
            if statement.carry is not None:
                work += names(statement.carry.start)
        return [s for s in statements if s.name in live]

    def _naming_means(
        self, expr: Expr, old: frozenset[Expr], done: list[Statement], todo: list[Statement], definitions: Definitions
    ) -> Expr:
        """Read the means that a rule put inside a reduction from statements: the user's own, or new ones."""
        found: dict[Expr, Expr] = {}
        for mean, around in _inner_means(expr, ()):
            if mean in old or mean in found:
                continue
            known = _reading(mean, done)
            if known is None:
                later = next((s for s in todo if _reading(mean, [s]) is not None and self._ready(s, done)), None)
                if later is not None:
                    todo.remove(later)
                else:
                    axes = _axes(mean)
                    later = Statement(self._fresh_name("mu", mean), axes, _with_letters(mean, around, axes))
                    self._named[later.name] = later
                    self._note_name(later)
                done.append(later)
                definitions.add(later)
                known = _reading(mean, [later])
            assert known is not None
            found[mean] = known
        return substitute_elements(expr, found)

    def _naming_gathered(
        self, expr: Expr, old: frozenset[Expr], done: list[Statement], definitions: Definitions
    ) -> Expr:
        """Read a softmax at a label from a statement: ``logp[n, t[n]]``, ``logp`` being computed for all classes."""
        found: dict[Expr, Expr] = {}
        for node in _nodes(expr):
            if not isinstance(node, KeepingReduction) or node in old or node in found or node.at == node.indices:
                continue
            whole = type(node)(node.body, node.indices, node.indices)
            known = _reading(whole, done)
            if known is None:
                wish = "p" if isinstance(node, Softmax) else "logp"
                statement = Statement(self._fresh_name(wish, whole), _axes(whole), whole)
                self._named[statement.name] = statement
                self._note_name(statement)
                done.append(statement)
                definitions.add(statement)
                known = statement.target
            found[node] = substitute(known, dict(zip(node.indices, node.at, strict=True)))
        return substitute_elements(expr, found)

    def _reading_new_means(self, statement: Statement, done: list[Statement]) -> Statement:
        """The statement with every mean that has been given a name, in one of ``done``, read by it."""
        found: dict[Expr, Expr] = {}
        named = [s for s in done if s.name in self._named]
        for node in _nodes(statement.expr) if named else ():
            if isinstance(node, Mean):
                known = _reading(node, named)
                if known is not None:
                    found[node] = known
        return replace(statement, expr=substitute_elements(statement.expr, found)) if found else statement

    def _ready(self, statement: Statement, done: list[Statement]) -> bool:
        given = {p.name for p in self._layer.parameters} | {s.name for s in done}
        return names(statement.expr) <= given

    def _fresh_name(self, wish: str, expr: Expr) -> str:
        layer = self._layer
        taken = {p.name for p in layer.parameters} | {s.name for s in layer.statements} | set(self._named)
        taken |= {h.name for h in layer.hypers} | {s.name for s in layer.sizes} | {d.size.name for d in layer.derived}
        taken |= {i.name for s in layer.statements for node in _nodes(s.expr) for i in (node,) if isinstance(i, Index)}
        wishes = [wish, *(f"{wish}_{e.name}" for e in elements(expr)[:1])]
        wishes += [f"{wishes[-1]}{k}" for k in range(2, len(taken) + 3)]
        return next(w for w in wishes if w not in taken and f"d{w}" not in taken)

    def _note(self, statement: Statement, firings: Sequence[Firing]) -> None:
        """Keep a step: what the statement is now, and by which identities."""
        formulas: list[Expr | Equation] = []
        whys: dict[str, list[str]] = {}
        for firing in firings:
            equation = Equation(firing.before, firing.after)
            if equation not in formulas:
                whys.setdefault(firing.rule.why, []).append(f"{{{len(formulas)}}}")
                formulas.append(equation)
        reason = "; ".join(f"{' and '.join(places)}: {why}" for why, places in whys.items())
        self.steps.append(Step(Stage.REWRITE, statement.target, statement.expr, reason, tuple(formulas)))

    def _note_name(self, statement: Statement) -> None:
        reason = "it is needed by itself, so it gets a name"
        self.steps.append(Step(Stage.REWRITE, statement.target, statement.expr, reason))


def _nodes(expr: Expr) -> Iterator[Expr]:
    yield expr
    for arg in expr.args:
        yield from _nodes(arg)


def _reusing(expr: Expr, old: frozenset[Expr], definitions: Definitions) -> Expr:
    """Read new parts of ``expr`` that an earlier statement computes from that statement."""
    found: dict[Expr, Expr] = {}
    for node in _nodes(expr):
        if node is not expr and isinstance(node, _REUSED) and node not in old and node not in found:
            known = _reading(node, list(definitions.statements()))
            if known is not None:
                found[node] = known
    return substitute_elements(expr, found)


def _reading(expr: Expr, statements: list[Statement]) -> Element | None:
    """Return the element of one of the statements whose value ``expr`` is, or None."""
    for statement in statements:
        own = _as_mean(statement.expr) if isinstance(expr, Mean) else statement.expr
        if type(own) is not type(expr):
            continue
        choice = place(own, statement.indices, expr)
        if choice is not None and all(map(_is_inside, statement.indices, (choice[i] for i in statement.indices))):
            return Element(statement.tensor, *(choice[i] for i in statement.indices))
    return None


def _is_inside(index: Index, value: Expr) -> bool:
    """Whether a place is one of the statement's for certain: a shifted one may be a recurrence's start."""
    if isinstance(value, Index):
        return bool(value.size == index.size)
    return isinstance(value, Element) or not free_indices(value)


def _as_mean(expr: Expr) -> Expr:
    """``sum[n](x)/N`` as ``mean[n](x)``; anything else as it is."""
    for factor in factors(expr):
        if isinstance(factor, Sum) and Mul(expr / factor, factor.count) == 1:
            return Mean(*factor.args)
    return expr


def _inner_means(expr: Expr, around: tuple[Index, ...]) -> Iterator[tuple[Mean, tuple[Index, ...]]]:
    """Yield the means inside a reduction that do not depend on its indices, with these indices."""
    if isinstance(expr, Mean) and around and free_indices(expr).isdisjoint(around):
        yield expr, around
    elif isinstance(expr, (Reduction, KeepingReduction)):
        yield from _inner_means(expr.body, (*around, *expr.indices))
    elif not isinstance(expr, Element):
        for arg in expr.args:
            yield from _inner_means(arg, around)


def _with_letters(mean: Mean, wish: tuple[Index, ...], axes: tuple[Index, ...]) -> Mean:
    """``mean[m](x[m, d])`` with the letter of the reduction around it, ``n``, if it is free here."""
    if [i.size for i in wish] != [i.size for i in mean.indices] or set(wish) & set(axes):
        return mean
    return Mean(substitute(mean.body, dict(zip(mean.indices, wish, strict=True))), *wish)


def _axes(expr: Expr) -> tuple[Index, ...]:
    """The free indices in the order in which the elements have them as subscripts."""
    free = free_indices(expr)
    order: dict[Index, None] = {}
    for element in sorted(elements(expr), key=lambda e: -len(e.subscripts)):
        order.update((s, None) for s in element.subscripts if isinstance(s, Index) and s in free)
    order.update((i, None) for i in sorted(free, key=str))
    return tuple(order)
