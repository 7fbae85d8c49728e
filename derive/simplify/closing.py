"""Closed forms: adjoints of intermediates written into the adjoints that read them.

Where paths meet again (mean and variance of the same data, a softmax's
normaliser), writing the intermediate adjoints out lets terms cancel. Where they
do not, a name is worth more: a product of matrices, a masked cotangent that
three gradients read. An adjoint keeps its name if writing it out would repeat
such work; the rest is written out, and facts are applied as it happens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sympy import Expr

from derive.algebra.indices import free_indices, names
from derive.algebra.nodes import Delta, Element, Index, Padded
from derive.algebra.terms import Letters, Term, Terms, collect, components, term_names
from derive.calculus.adjoint import Adjoint
from derive.simplify.facts import Fact, FactBook, apply_facts

__all__ = ["Closed", "close", "inline", "is_contraction"]

_MOST_TERMS = 6
"""A longer sum is worth a name of its own."""


@dataclass(frozen=True, slots=True)
class Closed:
    """An adjoint in closed form, and how it came about.

    Attributes:
        adjoint: the staged one.
        terms: in terms of kept adjoints, cotangents and forward values.
        kept: whether it has a name of its own.
        inlined: the adjoints that were written out in it.
        facts: the facts that were used.
        before: the terms before the facts.
    """

    adjoint: Adjoint
    terms: Terms
    kept: bool
    inlined: tuple[str, ...]
    facts: tuple[Fact, ...]
    before: Terms


def is_contraction(term: Term) -> bool:
    """Return whether the term is a product of matrices in disguise.

    Two factors of one sum each have an index that the other lacks.
    """
    return any(_crossed([a for a, _ in factors]) for factors, _ in components(term)[1])


def _crossed(atoms: Sequence[Expr]) -> bool:
    sets = [free_indices(a) for a in atoms if not isinstance(a, Delta)]
    return any(a - b and b - a and a & b for k, a in enumerate(sets) for b in sets[k + 1 :])


def inline(terms: Terms, known: dict[str, tuple[Element, Terms]], letters: Letters) -> tuple[Terms, list[str]]:
    """Write the known adjoints out wherever the terms read them."""
    used: list[str] = []
    result: list[Term] = []
    work = list(terms)
    while work:
        term = work.pop(0)
        for atom, exponent in term.factors:
            if isinstance(atom, Element) and atom.name in known:
                target, definition = known[atom.name]
                assert exponent == 1
                used.append(atom.name)
                mapping: dict[Expr, Expr] = dict(zip(target.subscripts, atom.subscripts, strict=True))
                rest = term.without([atom])
                work[:0] = [
                    Term.of(term.coefficient * t.coefficient, (*rest, *t.factors), (*term.bound, *t.bound))
                    for t in (d.renamed(mapping, letters) for d in definition)
                ]
                break
        else:
            result.append(term)
    return collect(result), list(dict.fromkeys(used))


def close(
    adjoints: Sequence[Adjoint],
    facts: FactBook,
    parameters: Iterable[str],
    letters: Letters,
    *,
    shared: bool = False,
) -> list[Closed]:
    """Decide, adjoint by adjoint, what keeps a name; return all in closed form, in order.

    Args:
        adjoints: outputs first.
        facts: about the forward values.
        parameters: names whose adjoints are results and keep their names.
        letters: the source of bound indices.
        shared: whether every adjoint that several others read keeps its name.
    """
    results = set(parameters)
    readers = _readers(adjoints)
    carried = {a.symbol for a in adjoints if a.carry is not None}
    unseen = _read_within(adjoints)
    written: dict[str, tuple[Element, Terms]] = {}
    contractions: dict[str, tuple[Element, Terms]] = {}
    closed: list[Closed] = []
    for adjoint in adjoints:
        before, inlined = inline(adjoint.terms, written, letters)
        terms, used = apply_facts(before, facts, letters)
        terms, more, through = _through_contractions(terms, contractions, facts, letters)
        kept = adjoint.name in results or adjoint.carry is not None or adjoint.symbol in unseen
        # What comes back from the next step is read from few places: it is only there inside the loop.
        reading = readers.get(adjoint.symbol, [])
        kept = kept or (_is_stepped(adjoint, carried) and len({a.symbol for a, _ in reading}) > 1)
        kept = kept or not _worth_inlining(adjoint, terms, reading, shared)
        if kept:
            if len(terms) == 1 and is_contraction(terms[0]):
                contractions[adjoint.symbol] = (adjoint.target, terms)
        else:
            written[adjoint.symbol] = (adjoint.target, terms)
        closed.append(Closed(adjoint, terms, kept, (*inlined, *through), (*used, *more), before))
    return closed


def _readers(adjoints: Sequence[Adjoint]) -> dict[str, list[tuple[Adjoint, Term]]]:
    """For every adjoint's symbol, who reads it in which term."""
    symbols = {a.symbol for a in adjoints}
    found: dict[str, list[tuple[Adjoint, Term]]] = {}
    for adjoint in adjoints:
        for term in adjoint.terms:
            for atom, _ in term.factors:
                if isinstance(atom, Element) and atom.name in symbols:
                    found.setdefault(atom.name, []).append((adjoint, term))
    return found


def _read_within(adjoints: Sequence[Adjoint]) -> frozenset[str]:
    """The names that are read padded or in the start of a recurrence, where no definition can be written."""
    found: set[str] = set()
    for adjoint in adjoints:
        if adjoint.carry is not None:
            found |= names(adjoint.carry.start)
        for term in adjoint.terms:
            found = found.union(*(names(atom) for atom, _ in term.factors if not isinstance(atom, Element)))
    return frozenset(found)


def _worth_inlining(adjoint: Adjoint, terms: Terms, readers: Sequence[tuple[Adjoint, Term]], shared: bool) -> bool:
    if _is_copy(terms):
        return True
    if any(is_contraction(t) or _lands(t) for t in terms):
        return False
    consumers = list(dict.fromkeys(a.name for a, _ in readers))
    contracted = any(_read_in_contraction(adjoint.symbol, t) for _, t in readers)
    computed = any(_computed(a) for t in terms for a, _ in t.factors)
    if len(terms) > _MOST_TERMS or (shared and len(consumers) > 1):
        return False
    if computed and (contracted or len(consumers) > 1):
        return False
    if len(terms) > 1:
        if contracted:
            return False
        # Read once, or reduced by one of its readers: the paths may cancel.
        reduced = any(len(a.indices) < len(adjoint.indices) for a, _ in readers)
        return len(consumers) == 1 or reduced
    sized = [a for a, _ in terms[0].factors if names(a)] if terms else []
    return not (contracted and len(sized) > 1)


def _is_stepped(adjoint: Adjoint, carried: set[str]) -> bool:
    """Whether an adjoint adds what a loop carries from step to step."""
    read = frozenset().union(*map(term_names, adjoint.terms))
    return adjoint.carry is None and len(adjoint.terms) > 1 and not read.isdisjoint(carried)


def _lands(term: Term) -> bool:
    """Whether a term adds to shifted places: the gradient of a window."""
    return any(
        bool(free_indices(place)) and not isinstance(place, (Index, Element))
        for atom, _ in term.factors
        if isinstance(atom, Delta)
        for place in atom.args
    )


def _is_copy(terms: Terms) -> bool:
    """``±c·dv`` with a number c, or nothing at all."""
    if not terms:
        return True
    if len(terms) > 1 or terms[0].bound:
        return False
    return sum(1 for a, _ in terms[0].factors if names(a)) <= 1


def _computed(atom: Expr) -> bool:
    """Whether an atom takes a pass of its own: a function or a sum of tensors."""
    return not isinstance(atom, (Element, Padded, Delta, Index)) and bool(free_indices(atom))


def _read_in_contraction(symbol: str, term: Term) -> bool:
    for factors, _ in components(term)[1]:
        atoms = [a for a, _ in factors]
        if any(isinstance(a, Element) and a.name == symbol for a in atoms) and _crossed(atoms):
            return True
    return False


def _through_contractions(
    terms: Terms,
    contractions: dict[str, tuple[Element, Terms]],
    facts: FactBook,
    letters: Letters,
) -> tuple[Terms, list[Fact], list[str]]:
    """Write a kept product of matrices out where a fact then swallows a sum.

    ``Σ_s p[t,s]·dp[t,s]`` with ``dp = Σ_e dy[t,e]·v[s,e]`` is
    ``Σ_e dy[t,e]·Σ_s p[t,s]·v[s,e] = Σ_e dy[t,e]·y[t,e]``.
    """
    result: list[Term] = []
    used: list[Fact] = []
    through: list[str] = []
    for term in terms:
        better = None
        for factors, _ in components(term)[1]:
            for atom, _ in factors:
                if not (isinstance(atom, Element) and atom.name in contractions):
                    continue
                name = atom.name
                opened, _ = inline((term,), {name: contractions[name]}, letters)
                folded, by = apply_facts(opened, facts, letters)
                shorter = by and len(folded) == 1 and len(folded[0].bound) < len(opened[0].bound)
                if shorter and not is_contraction(folded[0]):
                    better = (folded[0], by, name)
        if better is None:
            result.append(term)
        else:
            result.append(better[0])
            used += better[1]
            through.append(better[2])
    return collect(result), used, through
