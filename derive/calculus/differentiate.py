"""The staged derivation: every name's adjoint as a statement of its own."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from derive.algebra.letters import readable
from derive.algebra.terms import Letters, as_expr
from derive.calculus.adjoint import Adjoint, adjoints
from derive.calculus.naming import name_intermediates
from derive.calculus.program import Stage, Step
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
    steps: tuple[Step, ...]


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
    forward, automatic, named = name_intermediates(stable)
    found = tuple(adjoints(stable, forward, letters))
    chain = [
        Step(
            Stage.CHAIN,
            a.target,
            readable(as_expr(a.terms), a.indices),
            _chain_reason(a),
            formulas=a.partials,
            terms=tuple((p, readable(as_expr(t), a.indices)) for p, t in a.paths),
        )
        for a in found
    ]
    return Staged(layer, forward, automatic, found, wanted, letters, (*steps, *named, *chain))


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


def _chain_reason(adjoint: Adjoint) -> str:
    if not adjoint.paths:
        return f"no gradient reaches {adjoint.name}"
    holes = "; ".join(f"{{{k}}}" for k in range(len(adjoint.partials)))
    where = f", {holes}" if holes else ""
    return f"{adjoint.name} is read by {_listed([p for p, _ in adjoint.paths])}{where}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
