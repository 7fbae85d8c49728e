"""The staged derivation: every name's adjoint as a statement of its own."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from derive.algebra.letters import readable
from derive.algebra.terms import Letters, as_expr
from derive.calculus.adjoint import Adjoint
from derive.calculus.naming import name_intermediates
from derive.calculus.program import Stage, Step, Steps
from derive.calculus.repeats import without_repeats
from derive.calculus.reverse import adjoints
from derive.errors import UnknownNameError
from derive.language.layer import Layer, Statement

__all__ = ["Staged", "differentiate"]


@dataclass(frozen=True, slots=True)
class Staged:
    """A derivation before simplification.

    Attributes:
        layer: as written.
        forward: the stable statements with intermediates named.
        automatic: the names that the program chose itself.
        adjoints: of every name, outputs first.
        wanted: the parameters whose gradients are asked for.
        letters: the source of bound indices.
        steps: the derivation so far.
    """

    layer: Layer
    forward: tuple[Statement, ...]
    automatic: frozenset[str]
    adjoints: tuple[Adjoint, ...]
    wanted: tuple[str, ...]
    letters: Letters
    steps: Sequence[Step]


def differentiate(layer: Layer, stable: Layer, steps: Sequence[Step], wrt: Sequence[str] | None = None) -> Staged:
    """Take the adjoint of every name of a stable layer.

    Args:
        layer: as the user wrote it.
        stable: the same, rewritten to stable primitives, with the ``steps`` that were taken.
        wrt: parameters whose gradients are wanted; None for all that have one.

    Raises:
        UnknownNameError: a name in ``wrt`` is no differentiable parameter.
        DerivationError: no derivative is known for a construct.
    """
    wanted = _wanted(layer, wrt)
    letters = Letters()
    stable, repeats = without_repeats(stable)
    forward, automatic, named = name_intermediates(stable)
    found = tuple(adjoints(stable, forward, letters))
    story = Steps(lambda: steps, lambda: repeats, lambda: named, lambda: map(_chain_step, found))
    return Staged(layer, forward, automatic, found, wanted, letters, story)


def _chain_step(adjoint: Adjoint) -> Step:
    """The adjoint by the chain rule, one contribution a path, with the local derivatives in the reason."""
    partials = adjoint.partials()
    reason = f"no gradient reaches {adjoint.name}"
    if adjoint.paths:
        holes = "".join(f"{'; ' if k else ', '}{{{k}}}" for k in range(len(partials)))
        reason = f"{adjoint.name} is read by {_listed([p for p, _ in adjoint.paths])}{holes}"
    return Step(
        Stage.CHAIN,
        adjoint.target,
        readable(as_expr(adjoint.terms), adjoint.indices),
        reason,
        formulas=partials,
        terms=tuple((p, readable(as_expr(t), adjoint.indices)) for p, t in adjoint.paths),
    )


def _wanted(layer: Layer, wrt: Sequence[str] | None) -> tuple[str, ...]:
    if wrt is None:
        return layer.differentiable
    for name in wrt:
        if name not in layer.differentiable:
            near = difflib.get_close_matches(name, layer.differentiable, 1)
            known = ", ".join(layer.differentiable) or "none"
            hint = f"did you mean '{near[0]}'?" if near else f"gradients of {layer.name}: {known}"
            what = "is not differentiable" if layer.parameter(name) else "is no parameter"
            raise UnknownNameError(f"'{name}' {what} of layer '{layer.name}'", hint=hint)
    return tuple(n for n in layer.differentiable if n in wrt)


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
