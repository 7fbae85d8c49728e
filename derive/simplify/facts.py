"""Facts about the forward values, found from their definitions.

A fact rewrites a product, or a sum of a product, into something cheaper:

    sum[n](x[n, d])     = N*mu[d]        the definition of mu, read backwards
    sum[n](xc[n, d])    = 0              xc = x - mu, summed and folded
    xc[n, d]*rstd[d]    = xhat[n, d]     the definition of xhat, read backwards
    sum[c](p[n, c])     = 1              p is a softmax
    sum[d](y[n, d]**2)  = 1              y = x/norm, squared, summed and folded

None is listed by hand for a layer. A definition that is a single product or a
sum of one is read backwards. A definition that is a sum of terms is summed over
each of its indices and a product is squared and summed; where folding the
definitions back leaves no sum, that is a new fact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from sympy import Expr, Integer, S, exp

from derive.algebra.functions import Eq, Heaviside, Maximum, Where
from derive.algebra.indices import elements, free_indices, names, substitute
from derive.algebra.nodes import Element, Hyper, Index, LogSoftmax, Norm, Softmax
from derive.algebra.places import Axes
from derive.algebra.terms import Letters, Term, Terms, collect, components, matches, normal, term_names, unify
from derive.language.layer import Statement

__all__ = ["Fact", "FactBook", "apply_facts", "definition_fact", "find_facts", "invertible"]


@dataclass(frozen=True)
class Fact:
    """``sum[summed](Π pattern) = result``, for all values of the free variables.

    Attributes:
        pattern: atom and exponent pairs of the product.
        summed: the indices of the sum; none for a plain product.
        result: the term it equals, in the pattern's free variables; None for 0.
        reason: why, in words.
        subject: the name it is about.
        source: the gradient statement it reads, "" for a forward value.
        origin: the statement whose two sides were summed to find it.
        through: the facts that were used then.
    """

    pattern: tuple[tuple[Expr, Expr], ...]
    summed: tuple[Index, ...]
    result: Term | None
    reason: str
    subject: str
    source: str = ""
    origin: Statement | None = None
    through: tuple[Fact, ...] = ()

    @cached_property
    def variables(self) -> frozenset[Index]:
        """All indices of the pattern."""
        return frozenset().union(*(free_indices(a) for a, _ in self.pattern))

    @cached_property
    def reads(self) -> frozenset[str]:
        """The tensors of the pattern."""
        return frozenset().union(*(names(a) for a, _ in self.pattern))

    def left(self) -> Term:
        """The left side as a term."""
        return Term(S.One, self.pattern, self.summed)


class FactBook:
    """Facts in the order in which they are tried, found by the names they read; ``axes``: of what they read."""

    def __init__(self, facts: Iterable[Fact], axes: Axes) -> None:
        self.axes = axes
        # Sums before products, those that vanish before all: a product read by its name may hide one.
        ordered = sorted(facts, key=lambda f: (f.result is not None, not f.summed))
        self.products = [f for f in ordered if not f.summed]
        self._by_name: dict[str, list[tuple[int, Fact]]] = {}
        for rank, fact in enumerate(ordered):
            self._by_name.setdefault(min(fact.reads), []).append((rank, fact))

    def about(self, reads: frozenset[str]) -> list[Fact]:
        """Return the facts that read nothing but these names."""
        found = [pair for name in reads for pair in self._by_name.get(name, ()) if pair[1].reads <= reads]
        return [fact for _, fact in sorted(found, key=lambda pair: pair[0])]


def find_facts(statements: Sequence[Statement], letters: Letters, axes: Axes) -> FactBook:
    """Return the facts of a forward pass; ``axes``: of all tensors that it or its adjoints read."""
    facts: list[Fact] = []
    for statement in statements:
        if not statement.kind.differentiable or statement.carry is not None:
            continue
        facts += _of_definition(statement, letters)
    by_subject: dict[str, list[Fact]] = {}
    for fact in facts:
        for name in fact.reads:
            by_subject.setdefault(name, []).append(fact)
    for statement in statements:
        if statement.kind.differentiable and statement.carry is None:
            known = [f for name in sorted(names(statement.expr)) for f in by_subject.get(name, ())]
            for fact in _by_summing(statement, known, letters, axes):
                facts.append(fact)
                by_subject.setdefault(statement.name, []).append(fact)
    return FactBook(facts, axes)


def definition_fact(target: Element, terms: Terms, reason: str, source: str = "") -> Fact | None:
    """Read ``target = coefficient·outer·Σ inner`` backwards; None where that would divide by what may be 0."""
    if len(terms) != 1:
        return None
    term = terms[0]
    if not term.bound:
        tensors = [(a, e) for a, e in term.factors if names(a)]
        if len(tensors) < 2 or abs(term.coefficient) != 1 or not all(isinstance(a, Element) for a, _ in tensors):
            return None
        if frozenset().union(*(free_indices(a) for a, _ in tensors)) != frozenset(target.subscripts):
            return None
        scale = [(a, -e) for a, e in term.factors if not names(a)]
        if not all(e > 0 or invertible(a) for a, e in scale):
            return None
        return Fact(
            tuple(tensors), (), Term.of(1 / term.coefficient, [(target, S.One), *scale]), reason, target.name, source
        )
    outer, sums = components(term)
    if len(sums) != 1 or not all(e.is_negative or invertible(a) for a, e in outer):
        return None
    factors, bound = sums[0]
    result = Term.of(1 / term.coefficient, [(target, S.One), *((a, -e) for a, e in outer)])
    if set(target.subscripts) - frozenset().union(*(free_indices(a) for a, _ in factors)):
        return None
    return Fact(tuple(factors), tuple(bound), result, reason, target.name, source)


def invertible(atom: Expr) -> bool:
    """Whether an atom is a number that is never 0: a size, a constant, a root of a positive number."""
    if atom.is_number:
        return True
    if isinstance(atom, Hyper):
        return False
    if names(atom):
        return bool(atom.is_extended_positive)
    if free_indices(atom):
        return bool(atom.is_nonzero)  # a mask is 0 at some places
    return bool(atom.is_nonzero) or not atom.has(Hyper)


def _of_definition(statement: Statement, letters: Letters) -> Iterator[Fact]:
    target, expr = statement.target, statement.expr
    if type(expr) in (Softmax, LogSoftmax) and all(isinstance(a, Index) for a in expr.at):
        atom = target if isinstance(expr, Softmax) else exp(target)
        moved = {a: letters.fresh(a) for a in expr.at if isinstance(a, Index)}
        what = "the probabilities of a softmax add up to 1"
        yield Fact(((substitute(atom, moved), S.One),), tuple(moved.values()), Term(S.One, (), ()), what, target.name)
        mask = _mask(substitute(expr.body, dict(zip(expr.indices, expr.at, strict=True))))
        if mask is not None:
            atom = target if isinstance(expr, Softmax) else exp(target)
            why = f"where the mask is off, the exponential of -inf has made {target.name} 0 already"
            yield Fact(((atom, S.One), (mask, S.One)), (), Term.of_atom(atom), why, target.name)
        return
    if isinstance(expr, Maximum):
        yield from _of_maximum(statement)
        return
    if isinstance(expr, Norm):
        terms = normal(expr.body, letters)
        if len(terms) == 1 and not terms[0].bound:
            moved = {i: letters.fresh(i) for i in expr.indices}
            body = terms[0].renamed(moved, letters)
            factors = tuple((a, 2 * e) for a, e in body.factors)
            result = Term.of(1 / terms[0].coefficient ** 2, [(target, Integer(2))])
            yield Fact(factors, tuple(moved.values()), result, f"{target.name} is the norm", target.name)
        return
    fact = definition_fact(target, normal(expr, letters), f"the definition of {target.name}")
    if fact is not None:
        yield fact


def _of_maximum(statement: Statement) -> Iterator[Fact]:
    """Where ``m = maximum(r, eps)`` passes r's gradient, m is r: divide by m, which is divided by anyway."""
    first, second = statement.expr.args
    for value, other in ((first, second), (second, first)):
        if not isinstance(value, Element):
            continue
        step = Heaviside(value - other)
        bottom = Where(Eq(value, S.Zero), S.One, value)
        result = Term.of(S.One, [(step, S.One), (statement.target, S.NegativeOne)])
        why = f"where the step is not 0, {statement.name} is {value.name}"
        yield Fact(((step, S.One), (bottom, S.NegativeOne)), (), result, why, statement.name)


def _mask(body: Expr) -> Expr | None:
    """The derivative of a body that is -inf where a condition fails."""
    if isinstance(body, Where):
        condition, a, b = body.args
        if b is S.NegativeInfinity:
            return Where(condition, S.One, S.Zero)
        if a is S.NegativeInfinity:
            return Where(condition, S.Zero, S.One)
    return None


def _by_summing(statement: Statement, known: Sequence[Fact], letters: Letters, axes: Axes) -> Iterator[Fact]:
    terms = normal(statement.expr, letters)
    if any(t.bound for t in terms):
        return
    target = statement.target
    spans = _spans(statement, known)
    powers = [(Integer(1), "sum")]
    if len(terms) == 1 and len(terms[0].factors) > 1:
        powers.append((Integer(2), "sum of squares"))
    if not spans:
        return
    book = FactBook(dict.fromkeys(known), axes)
    for span, (power, what) in product(spans, powers):
        inner: dict[Expr, Expr] = {index: letters.fresh(index) for index in span}
        summed = []
        for term in terms:
            moved = term.renamed(inner, letters)
            factors = [(a, power * e) for a, e in moved.factors]
            summed.append(Term.of(moved.coefficient**power, factors, tuple(inner.values())))
        folded, used = apply_facts(tuple(summed), book, letters)
        if not used or len(folded) > 1 or any(t.bound for t in folded):
            continue
        if power == 2 and folded and any(names(a) for a, _ in folded[0].factors):
            continue
        value = "vanishes" if not folded else "collapses"
        why = f"the {what} of {target.name} over {', '.join(i.name for i in span)} {value}"
        pattern = ((substitute(target, inner), power),)
        result = folded[0] if folded else None
        bound = tuple(inner.values())
        yield Fact(pattern, bound, result, why, target.name, origin=statement, through=tuple(used))


def _spans(statement: Statement, known: Sequence[Fact]) -> list[tuple[Index, ...]]:
    """The sets of the statement's indices over which a fact says something about what it reads."""
    found: dict[tuple[Index, ...], None] = {}
    read = elements(statement.expr)
    for fact in known:
        if len(fact.pattern) != 1 or not fact.summed:
            continue
        for element in read:
            mapping: dict[Expr, Expr] = {}
            if fact.pattern[0][0].has(Element) and _unify_any(fact, element, mapping):
                span = {mapping.get(i) for i in fact.summed}
                if span <= set(statement.indices):
                    found.setdefault(tuple(i for i in statement.indices if i in span))
    return list(found)


def _unify_any(fact: Fact, element: Element, mapping: dict[Expr, Expr]) -> bool:
    """Whether an element is one that the fact's pattern reads."""
    return any(unify(e, element, mapping, fact.variables) for e in elements(fact.pattern[0][0]))


def apply_facts(terms: Terms, facts: FactBook, letters: Letters) -> tuple[Terms, list[Fact]]:
    """Rewrite terms by facts until none applies; return the facts that were used, in order."""
    used: list[Fact] = []
    work = list(terms)
    done: list[Term] = []
    while work:
        term = _without_guards(work.pop(0))
        reads = term_names(term)
        for fact in facts.about(reads):
            new = _apply(fact, term, letters, facts.axes)
            if new is not None:
                if not any(f is fact for f in used):
                    used.append(fact)
                work[:0] = new
                break
        else:
            done.append(term)
    return collect(done), used


def _without_guards(term: Term) -> Term:
    """``v`` for ``where(v == 0, 1, v)`` beside a division by ``v``: at 0 the term is undefined already."""
    for atom, _ in term.factors:
        if isinstance(atom, Where) and isinstance(atom.args[0], Eq) and atom.args[1] is S.One:
            value = atom.args[2]
            if atom.args[0].args == (value, S.Zero) and term.exponent(value).is_negative:
                factors = [(value if a == atom else a, e) for a, e in term.factors]
                return Term.of(term.coefficient, factors, term.bound)
    return term


def _apply(fact: Fact, term: Term, letters: Letters, axes: Axes) -> list[Term] | None:
    for mapping, rest, bound in matches(fact.pattern, fact.variables, fact.summed, term, axes):
        if fact.result is None:
            return []
        result = fact.result.renamed(mapping, letters)
        return [
            Term.of(
                term.coefficient * result.coefficient,
                (*rest, *result.factors),
                (*bound, *result.bound),
            )
        ]
    return None
