"""Results that are 0: a bias before a batch normalization has no gradient.

``db = Σ_n dh`` reads only the adjoint ``dh``. Written out, with the facts about
the forward values and with the sums that have lines of their own, all terms
cancel; so does the gradient of a key bias in attention, whose scores a softmax
is blind to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from derive.algebra.indices import free_indices
from derive.algebra.nodes import Element
from derive.algebra.terms import Letters, Term, Terms, term_names
from derive.calculus.program import Step
from derive.simplify.closing import inline
from derive.simplify.explain import rewritten
from derive.simplify.facts import Fact, FactBook, apply_facts, definition_fact
from derive.simplify.lines import Line

__all__ = ["drop_vanishing_sums"]

_DEEPEST = 3
"""How many times a sum is written out in search of a cancellation."""

_MOST_TERMS = 12
"""Beyond so many terms a sum is not written out further."""


def drop_vanishing_sums(lines: Sequence[Line], facts: FactBook, letters: Letters) -> tuple[list[Line], list[Step]]:
    """Return the lines with those that are 0 emptied, and a step for each that is."""
    # What a loop carries from step to step is never written out: it would not end.
    by_name = {line.name: line for line in lines if line.carry is None}
    known: dict[str, Fact] = {}
    for line in lines:
        if len(line.terms) == 1:
            fact = definition_fact(line.target, line.terms, f"the line of {line.name}", line.name)
            if fact is not None:
                known[line.name] = fact
    result: list[Line] = []
    steps: list[Step] = []
    for line in lines:
        opened = _opened_to_nothing(line, by_name, known, facts, letters)
        if opened:
            line = replace(line, terms=())
            steps.append(rewritten(line.target, (), f"write out {', '.join(opened)}: every term cancels"))
        result.append(line)
    return result, steps


def _opened_to_nothing(
    line: Line, by_name: dict[str, Line], known: dict[str, Fact], facts: FactBook, letters: Letters
) -> list[str]:
    """Return the adjoints whose writing out makes all terms of the line cancel; none where they do not."""
    if not line.terms or not all(_plain_sum(t, by_name) for t in line.terms):
        return []
    if not _has_terms_to_cancel(line, by_name, _DEEPEST):
        return []
    terms = line.terms
    opened: dict[str, None] = {}
    for _ in range(_DEEPEST):
        opening = [n for n in _summed(terms) if n in by_name and n != line.name and n not in opened]
        if not opening or len(terms) > _MOST_TERMS:
            return []
        opened.update(dict.fromkeys(opening))
        definitions = {n: (by_name[n].target, by_name[n].terms) for n in opening}
        terms, _ = inline(terms, definitions, letters)
        terms, _ = apply_facts(terms, facts, letters)
        reads = frozenset().union(*map(term_names, terms))
        near = [f for n, f in known.items() if n != line.name and n not in opened and f.reads <= reads]
        terms, _ = apply_facts(terms, FactBook(near, facts.axes), letters)
        terms, _ = apply_facts(terms, facts, letters)
        if not terms:
            return list(opened)
    return []


def _has_terms_to_cancel(line: Line, by_name: dict[str, Line], depth: int) -> bool:
    """Whether something that would be written out has more than one term: nothing else can cancel."""
    below = [by_name[n] for n in _summed(line.terms) if n in by_name and n != line.name]
    return any(len(b.terms) > 1 or (depth > 1 and _has_terms_to_cancel(b, by_name, depth - 1)) for b in below)


def _summed(terms: Terms) -> list[str]:
    """The names of the elements that are read under a sum."""
    found: dict[str, None] = {}
    for term in terms:
        for atom, _ in term.factors:
            if isinstance(atom, Element) and set(term.bound) & free_indices(atom):
                found.setdefault(atom.name)
    return list(found)


def _plain_sum(term: Term, by_name: dict[str, Line]) -> bool:
    """Whether a term is the sum of one adjoint that has a line of its own."""
    inner = [a for a, _ in term.factors if set(term.bound) & free_indices(a)]
    return len(inner) == 1 and isinstance(inner[0], Element) and inner[0].name in by_name
