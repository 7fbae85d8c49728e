"""Simplification, in the order in which an expert does it.

1. find the facts about the forward values,
2. write intermediate adjoints out where paths meet again, applying the facts,
3. read what is computed anyway by its name (``dbeta`` inside ``dx``), drop sums that vanish,
4. give repeated products a name,
5. take common factors out,
6. keep the staged form instead where that is cheaper,
7. drop the forward values that nobody reads.
"""

from __future__ import annotations

from enum import Enum
from functools import partial

from derive.algebra.places import Axes
from derive.calculus.adjoint import adjoint_name
from derive.calculus.differentiate import Staged
from derive.calculus.hoisting import hoisted
from derive.calculus.program import Program, Steps
from derive.language.layer import Layer, Statement
from derive.simplify.closing import close
from derive.simplify.cost import cost
from derive.simplify.explain import closing_steps, result_step
from derive.simplify.facts import FactBook, find_facts
from derive.simplify.forward import forward_statements
from derive.simplify.lines import Line, expanded, in_order, needed, statement_of
from derive.simplify.sharing import name_products, read_earlier, read_forward_values, read_results, without_copies
from derive.simplify.vanishing import drop_vanishing_sums

__all__ = ["Form", "axes_of", "simplified", "simplify"]

_WORTH_STAGES = 0.97
"""What the staged form must cost of the closed one to be taken: less is within the error of the model."""


class Form(Enum):
    """What becomes of a staged derivation: every adjoint stays, they are written out, or whichever is cheaper."""

    STAGED = "staged"
    CLOSED = "closed"
    CHEAPER = "cheaper"


def simplify(staged: Staged, form: Form = Form.CHEAPER) -> Program:
    """Return the program of a staged derivation: closed forms where they are cheaper, or the form that is wanted."""
    backward, steps = simplified(staged, form)
    symbols = {a.name: a.symbol for a in staged.adjoints}
    return Program(
        staged.layer,
        forward_statements(staged, backward),
        backward,
        staged.layer.returns,
        tuple(_given(name, staged.layer) for name in staged.layer.returns),
        tuple((name, symbols[name]) for name in staged.wanted),
        Steps(lambda: staged.steps, lambda: steps),
    )


def simplified(staged: Staged, form: Form = Form.CHEAPER) -> tuple[tuple[Statement, ...], Steps]:
    """Return the statements that compute what is wanted of a derivation, and the steps from the staged form to them."""
    symbols = {a.name: a.symbol for a in staged.adjoints}
    results = [symbols[name] for name in staged.wanted]
    facts = find_facts(staged.forward, staged.letters, axes_of(staged))
    lines, steps = _closed(staged, facts, results, shared=False)
    plain = needed([Line(a.target, a.terms, a.carry) for a in staged.adjoints], results)
    plain = in_order(without_copies(plain, results))
    if form is Form.STAGED:
        lines, steps = plain, Steps()
    elif plain != lines and form is Form.CHEAPER:
        stages = _cost(plain, results)
        if stages < _WORTH_STAGES * _cost(lines, results):
            # What several read keeps its name, what one reads does not; if even that is no match, every stage does.
            lines, steps = _closed(staged, facts, results, shared=True)
            if stages < _WORTH_STAGES * _cost(lines, results):
                lines, steps = plain, Steps()
    written = (statement_of(line, results) for line in lines)
    statements = tuple(read_forward_values(statement, staged.forward, facts.axes) for statement in written)
    taken = {s.name for s in (*statements, *staged.forward)} | {p.name for p in staged.layer.parameters}
    taken |= set(symbols.values())  # also of those that were written out: their names mean something else
    statements, _ = hoisted(statements, partial(_choose, taken))
    return statements, Steps(lambda: steps, lambda: map(result_step, statements))


def _choose(taken: set[str], wish: str) -> str:
    name, number = wish, 2
    while name in taken:
        name, number = f"{wish}{number}", number + 1
    taken.add(name)
    return name


def _cost(lines: list[Line], results: list[str]) -> float:
    """Factors in front of a bracket read better and cost a pass at most: they do not count against a closed form."""
    return min(cost(statement_of(line, results) for line in lines), cost(map(expanded, lines)))


def _closed(staged: Staged, facts: FactBook, results: list[str], *, shared: bool) -> tuple[list[Line], Steps]:
    """Return the closed form, in the order of computation, and the steps to it.

    ``shared``: an adjoint that several others read keeps its name.
    """
    letters = staged.letters
    closed = close(staged.adjoints, facts, staged.wanted, letters, shared=shared)
    lines = needed([Line(c.adjoint.target, c.terms, c.adjoint.carry) for c in closed if c.kept], results)
    lines, earlier = read_earlier(lines, results)
    lines, read = read_results(lines, results, facts, letters)
    lines, vanished = drop_vanishing_sums(lines, facts, letters)
    lines, named = name_products(lines, closed, facts.axes, letters)
    steps = Steps(lambda: closing_steps(closed), lambda: (*earlier, *read, *vanished, *named))
    return in_order(without_copies(needed(lines, results), results)), steps


def axes_of(staged: Staged) -> Axes:
    """Return the axes of the tensors that a derivation reads, what is handed to its results beside them."""
    axes = {p.name: p.axes for p in staged.layer.parameters} | {s.name: s.axes for s in staged.forward}
    given = {_given(name, staged.layer): axes[name] for name in staged.layer.returns}
    return {**axes, **given, **{a.symbol: tuple(i.size for i in a.indices) for a in staged.adjoints}}


def _given(output: str, layer: Layer) -> str:
    """The name of the cotangent that the caller hands in."""
    return adjoint_name(output) + ("_out" if layer.parameter(output) else "")
