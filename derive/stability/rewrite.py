"""Apply the rules of a phase to an expression, looking through the names of intermediate results.

A textbook spreads ``exp(z)/sum(exp(z))`` over three statements:

    e[n, c] = exp(z[n, c])
    s[n]    = sum[c](e[n, c])
    p[n, c] = e[n, c]/s[n]

Where no rule fires on a node, names in it whose definitions are made of
exponentials (and the like) are replaced by their definitions, as few of them
as possible, first as their statements have them, then with the names in these
written out too; if a rule fires then, the result is kept, otherwise the node stays
as it was written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Flag, auto
from functools import cached_property
from itertools import combinations

from sympy import Add, Expr, Mul, Pow, cosh, erf, exp, log, sinh, tanh

from derive.algebra.functions import Erfc, Expm1, Log1p, Minimum, Sigmoid, StopGradient, Where
from derive.algebra.indices import open_elements, rebuild, substitute, substitute_elements
from derive.algebra.nodes import (
    Element,
    KeepingReduction,
    LogSoftmax,
    LogSumExp,
    Max,
    Mean,
    Min,
    Prod,
    Reduction,
    Softmax,
    Sum,
)
from derive.language.layer import Statement
from derive.stability.matching import factors, root_of_square
from derive.stability.rule import Phase, Rule

__all__ = ["Definition", "Definitions", "Firing", "Rewriter"]

_LARGEST = 250  # nodes of a definition that is worth trying


class Made(Flag):
    """What a value is made of, as far as a rule could care."""

    NOTHING = 0
    EXP = auto()
    SIGMOID = auto()
    SOFTMAX = auto()
    LOGSUMEXP = auto()
    LOG = auto()
    ERF = auto()
    TANH = auto()
    MAXIMUM = auto()
    PRODUCT = auto()
    SQUARES = auto()
    MEAN = auto()
    ONE_PLUS = auto()
    QUOTIENT = auto()


_HEADS: tuple[tuple[tuple[type[Expr], ...], Made], ...] = (
    ((exp, Expm1, sinh, cosh), Made.EXP),
    ((Sigmoid,), Made.SIGMOID),
    ((Softmax,), Made.SOFTMAX),
    ((LogSumExp,), Made.LOGSUMEXP),
    ((log, Log1p), Made.LOG),
    ((erf, Erfc), Made.ERF),
    ((tanh,), Made.TANH),
    ((Max, Min), Made.MAXIMUM),
    ((Prod,), Made.PRODUCT),
)


@dataclass(frozen=True, slots=True)
class Firing:
    """One use of a rule."""

    rule: Rule
    before: Expr
    after: Expr


@dataclass(frozen=True, slots=True)
class Form:
    """A way of writing out a name.

    Attributes:
        expr: its value.
        firings: how many rules fire in it by itself.
    """

    expr: Expr
    firings: int


class Definition:
    """A statement and what is known of its value.

    Attributes:
        statement: it.
        made: what the value is made of.
    """

    def __init__(self, statement: Statement, made: Made, definitions: Definitions) -> None:
        self.statement = statement
        self.made = made
        self._definitions = definitions

    @cached_property
    def forms(self) -> tuple[Form, ...]:
        """The value as the statement has it, and with the names that are worth it written out too."""
        plain, full = self.statement.expr, self._full
        return tuple(Form(e, self._firings(e)) for e in ((plain,) if full == plain else (plain, full)))

    @cached_property
    def _full(self) -> Expr:
        expr = self.statement.expr
        inner: dict[Expr, Expr] = {}
        for element in open_elements(expr):
            known = self._definitions.get(element)
            if known is not None and known.made:
                inner[element] = known.at(element, known.forms[-1])
        unfolded = substitute_elements(expr, inner)
        return unfolded if _count(unfolded) <= _LARGEST else expr

    def _firings(self, expr: Expr) -> int:
        trial = Rewriter(self._definitions.phase, None)
        trial.rewrite(expr)
        return len(trial.firings)

    def at(self, element: Expr, form: Form) -> Expr:
        """Return a form with the element's subscripts in place of the statement's indices."""
        assert isinstance(element, Element)
        return substitute(form.expr, dict(zip(self.statement.indices, element.subscripts, strict=True)))


class Definitions:
    """The statements that may be looked through, by name."""

    def __init__(self, phase: Phase) -> None:
        self.phase = phase
        self._by_name: dict[str, Definition] = {}

    def add(self, statement: Statement) -> None:
        """Take in a statement; those it reads have been taken in before."""
        # A recurrence is its definition except at its start.
        plain = statement.kind.differentiable and statement.carry is None
        made = self.made_of(statement.expr) if plain else Made.NOTHING
        self._by_name[statement.name] = Definition(statement, made, self)

    def get(self, element: Element) -> Definition | None:
        """Return what is known of an element's value."""
        return self._by_name.get(element.name)

    def statements(self) -> Iterator[Statement]:
        """Yield the statements in order."""
        return (d.statement for d in self._by_name.values())

    def made_of(self, expr: Expr) -> Made:
        """Return what the value of an expression is made of, at its surface."""
        if isinstance(expr, Element):
            known = self._by_name.get(expr.name)
            return known.made if known else Made.NOTHING
        for heads, made in _HEADS:
            if isinstance(expr, heads):
                return made
        if isinstance(expr, (Add, Mul, StopGradient)):
            made = self._union(expr.args)
            return made | Made.ONE_PLUS if isinstance(expr, Add) and abs(expr.as_coeff_Add()[0]) == 1 else made
        if isinstance(expr, Pow):
            made = self.made_of(expr.base)
            return made | Made.QUOTIENT if expr.exp.is_negative else made
        if isinstance(expr, (Sum, Mean)):
            made = Made.MEAN | (self.made_of(expr.body) & Made.EXP)
            squares = root_of_square(expr.body) is not None or (isinstance(expr, Mean) and isinstance(expr.body, Mul))
            return made | Made.SQUARES if squares else made
        if isinstance(expr, Where):
            return self._union(expr.args[1:])
        return Made.NOTHING

    def _union(self, args: tuple[Expr, ...]) -> Made:
        made = Made.NOTHING
        for arg in args:
            made |= self.made_of(arg)
        return made


def _count(expr: Expr) -> int:
    return 1 + sum(map(_count, expr.args))


class Rewriter:
    """Rewrites expressions by the rules of one phase and notes which fired."""

    def __init__(self, phase: Phase, definitions: Definitions | None) -> None:
        self._phase = phase
        self._definitions = definitions
        self._done: dict[Expr, Expr] = {}
        self.firings: list[Firing] = []

    def rewrite(self, expr: Expr) -> Expr:
        """Return ``expr`` with the rules applied from the inside out; the same object where none fired."""
        if not expr.args or isinstance(expr, Element):
            return expr
        if expr in self._done:
            return self._done[expr]
        if isinstance(expr, (Reduction, KeepingReduction)):
            new = rebuild(expr, (self.rewrite(expr.args[0]), *expr.args[1:]))
        else:
            new = rebuild(expr, map(self.rewrite, expr.args))
        after = self._fire(new)
        if after is not None:
            new = self.rewrite(after)
        self._done[expr] = new
        self._done[new] = new
        return new

    def _fire(self, expr: Expr) -> Expr | None:
        for rule in self._phase.at(type(expr)):
            after = rule.apply(expr)
            if after is not None and after != expr:
                self.firings.append(Firing(rule, expr, after))
                return after
        return None if self._definitions is None else self._through_names(expr)

    def _through_names(self, expr: Expr) -> Expr | None:
        """Return ``expr`` rewritten with the fewest names written out that let a rule fire, or None."""
        definitions = self._definitions
        assert definitions is not None
        if not self._phase.at(type(expr)):
            return None
        found = _candidates(expr, definitions)
        for depth in range(max((len(d.forms) for d in found.values()), default=0)):
            for chosen in _subsets(list(found)):
                forms = {e: found[e].forms[min(depth, len(found[e].forms) - 1)] for e in chosen}
                if depth and all(form is found[e].forms[0] for e, form in forms.items()):
                    continue  # tried already
                trial = Rewriter(self._phase, None)
                candidate = _written_out(expr, {e: found[e].at(e, form) for e, form in forms.items()})
                after = trial.rewrite(candidate)
                if len(trial.firings) > sum(form.firings for form in forms.values()):
                    self.firings.extend(trial.firings)
                    return after
        return None


def _written_out(expr: Expr, values: Mapping[Expr, Expr]) -> Expr:
    """``expr`` with elements replaced; ``log(exp(x))`` is kept as it is, for a rule to see it."""
    if isinstance(expr, log):
        return log(substitute_elements(expr.args[0], values), evaluate=False)
    return substitute_elements(expr, values)


def _subsets(items: list[Element]) -> Iterator[tuple[Element, ...]]:
    """Yield the non-empty subsets, small ones first; of many items only singles, pairs and all."""
    for size in range(1, len(items) + 1):
        if len(items) <= 4 or size in (1, 2, len(items)):
            yield from combinations(items, size)


def _candidates(expr: Expr, definitions: Definitions) -> dict[Element, Definition]:
    """The elements in ``expr`` whose definitions could let a rule fire on it."""
    found: dict[Element, Definition] = {}
    for element in open_elements(expr):
        known = definitions.get(element)
        if known is not None and known.made:
            found[element] = known
    if not found:
        return found
    made = Made.NOTHING
    for definition in found.values():
        made |= definition.made
    useful = _useful(expr, made, definitions)
    return {e: d for e, d in found.items() if d.made & useful}


def _useful(expr: Expr, made: Made, definitions: Definitions) -> Made:
    """What the names in a node of this class must be made of to be worth writing out."""
    if isinstance(expr, log):
        return Made.EXP | Made.SIGMOID | Made.SOFTMAX | Made.TANH | Made.ERF | Made.PRODUCT | Made.ONE_PLUS
    if isinstance(expr, Log1p):
        return Made.EXP
    if isinstance(expr, Mul):
        useful = Made.EXP | Made.LOG
        return useful | Made.SIGMOID if made & Made.EXP or expr.has(exp, Expm1, sinh) else useful
    if isinstance(expr, Pow):
        if expr.exp.is_Rational and expr.exp.q == 2:
            return Made.NOTHING if isinstance(expr.base, Add) else Made.SQUARES
        return Made.EXP if expr.exp.is_negative else Made.NOTHING
    if isinstance(expr, Add):
        here = definitions.made_of(expr)
        useful = Made.EXP | Made.ERF
        if here & Made.LOGSUMEXP:
            useful |= Made.LOGSUMEXP | Made.MAXIMUM
        if here & Made.SQUARES and any(_squared(t) for t in expr.args):
            useful |= Made.SQUARES | Made.MEAN
        return useful
    if isinstance(expr, (Softmax, LogSoftmax)):
        return Made.MAXIMUM
    if isinstance(expr, Where):
        return Made.EXP | Made.LOG | Made.QUOTIENT
    if isinstance(expr, Minimum):
        return Made.EXP
    return Made.NOTHING


def _squared(term: Expr) -> bool:
    """Whether a term of a difference could be (a multiple of) a squared mean."""
    return term.as_coeff_Mul()[0].is_negative and any(
        isinstance(f, Element) or (isinstance(f, Pow) and f.exp == 2) for f in factors(term)
    )
