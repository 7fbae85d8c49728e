"""A line of the derivation, about which guesses are made: what the results are where some of its pieces are others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from sympy import Expr, Pow

from derive.algebra.letters import readable
from derive.algebra.nodes import Index, Tensor
from derive.algebra.terms import Term, as_expr
from derive.algebra.text import show
from derive.diagnosis.causes import Cause, Fits, Guess, Parts
from derive.diagnosis.dense import Dense, Values
from derive.diagnosis.experiment import Experiment
from derive.diagnosis.forms import Derivation, Form, Line, Piece

__all__ = ["Site", "factor_text", "line_text", "with_factor"]


@lru_cache(maxsize=4096)
def line_text(line: Line) -> str:
    """Return the line in the layer language."""
    return f"{show(line.target)} = {show(line.shown)}"


@lru_cache(maxsize=16384)
def _text(expr: Expr, taken: tuple[Index, ...]) -> str:
    """Return an expression in letters that people read."""
    return show(readable(expr, taken))


@lru_cache(maxsize=4096)
def _term_text(term: Term, taken: tuple[Index, ...]) -> str:
    return show(readable(as_expr((term,)), taken))


def _right_side(line: Line) -> str:
    return line_text(line).partition(" = ")[2]


def factor_text(what: str, name: str) -> str:
    """Say that something has a factor too many, or lacks its inverse."""
    sign = " and the wrong sign" if name.startswith("-") else ""
    name = name.removeprefix("-")
    if "/" in name or name.replace(".", "").isdigit():
        return f"{what} has the factor {name} too many{sign}"
    inverse = f"1/({name})" if "*" in name and "(" not in name else f"1/{name}"
    return f"{what} lacks the factor {inverse}{sign}"


def with_factor(cause: Cause, text: str) -> Fits:
    """Return a judgement that lets a further factor pass where it has a name."""

    def fits(value: float, name: str | None) -> tuple[Cause, str] | None:
        if name == "1":
            return cause, text
        return None if name is None else (cause, factor_text(f"{text}, and it", name))

    return fits


@dataclass(frozen=True)
class Site:
    """One line of a form.

    Attributes:
        derived: the derivation.
        form: the form that the line belongs to.
        place: its number there.
    """

    derived: Derivation
    form: Form
    place: int

    @property
    def line(self) -> Line:
        """The line."""
        return self.form.lines[self.place]

    @property
    def symbol(self) -> str:
        """What it defines."""
        return self.line.symbol

    @property
    def reach(self) -> frozenset[str]:
        """The symbols that change with it."""
        return self.form.reach[self.place]

    @property
    def adjoints(self) -> frozenset[str]:
        """The names that are no forward values: those of the form's lines, and the cotangents."""
        return frozenset(line.symbol for line in self.form.lines) | frozenset(self.derived.cotangents.values())

    @property
    def is_gradient(self) -> bool:
        """Whether the line is the gradient of a parameter."""
        return any(symbol == self.symbol for _, symbol in self.derived.program.gradients)

    def shown(self, term: Term) -> str:
        """Return a term in letters that people read."""
        return _term_text(term, self.line.indices)

    def atom(self, expr: Expr, term: Term) -> str:
        """Return a factor of a term in letters that people read."""
        return _text(expr, (*self.line.indices, *term.bound))

    def called(self, piece: Piece) -> str:
        """Say which piece of the line it is."""
        if piece.via:
            return f"the path of {self.symbol} through {piece.via}"
        return f"the term {self.shown(piece.term)} of {self.symbol}"

    # Guesses

    def guess(
        self,
        cause: Cause,
        text: str,
        changed: Mapping[Piece, Term],
        cost: float,
        fits: Fits | None = None,
        *,
        formula: str | None = None,
    ) -> Guess:
        """Return the guess that some pieces are other terms, up to a factor.

        Args:
            cause: the kind of mistake.
            text: says it.
            changed: what stands in the place of each piece that is wrong.
            cost: how far-fetched it is.
            fits: judges the factor; by default any that has a name passes.
            formula: of the piece that is concerned.
        """

        def parts(experiment: Experiment, wanted: str | None) -> Parts | None:
            old = np.zeros(())
            new = np.zeros(())
            try:
                for piece, term in changed.items():
                    old = old + experiment.value(self.form, self.line, piece.term)
                    new = new + experiment.value(self.form, self.line, term)
            except IndexError:
                return None
            return self.parts(experiment, old, new, wanted)

        if formula is None:
            formula = _right_side(self.line) if len(changed) > 1 else self.shown(next(iter(changed)).term)
        judged = with_factor(cause, text) if fits is None else fits
        return Guess(cause, text, formula, line_text(self.line), cost, parts, self.reach, judged)

    def replaced(self, cause: Cause, text: str, other: str, cost: float) -> Guess:
        """Return the guess that the whole line is another adjoint."""

        def parts(experiment: Experiment, wanted: str | None) -> Parts | None:
            arrays = experiment.arrays(self.form)
            return self.parts(experiment, arrays[self.symbol], arrays[other], wanted)

        def fits(value: float, name: str | None) -> tuple[Cause, str] | None:
            return (cause, text) if name == "1" else None

        return Guess(cause, text, _right_side(self.line), line_text(self.line), cost, parts, self.reach, fits)

    def permuted(self, cause: Cause, text: str, index: Index, order: Sequence[int], cost: float) -> Guess:
        """Return the guess that the line's values lie in another order along an index."""

        def parts(experiment: Experiment, wanted: str | None) -> Parts | None:
            value = experiment.arrays(self.form)[self.symbol]
            moved = np.take(value, list(order), axis=self.line.indices.index(index))
            return self.parts(experiment, value, moved, wanted)

        def fits(value: float, name: str | None) -> tuple[Cause, str] | None:
            return (cause, text) if name == "1" else None

        return Guess(cause, text, _right_side(self.line), line_text(self.line), cost, parts, self.reach, fits)

    def unsummed(self, cause: Cause, text: str, piece: Piece, loose: Term, kept: Sequence[Index], cost: float) -> Guess:
        """Return the guess that a piece keeps bound indices as axes, which NumPy spreads over those of their size."""
        own = self.line.indices

        def parts(experiment: Experiment, wanted: str | None) -> Parts | None:
            old = experiment.value(self.form, self.line, piece.term)
            named = Dense(experiment.instance, experiment.arrays(self.form)).value(as_expr((loose,)))
            if any(i not in (*own, *kept) for i in named.axes):
                return None
            places: list[int | Index] = [own.index(i) if i in own else i for i in named.axes]
            found = self.parts(experiment, old, named.array, wanted, tuple(places))
            return None if found is None else {s: v for s, v in found.items() if s != self.symbol}

        reach = self.reach - {self.symbol}
        shown = self.shown(piece.term)
        return Guess(cause, text, shown, line_text(self.line), cost, parts, reach, with_factor(cause, text))

    def parts(
        self,
        experiment: Experiment,
        old: Values,
        new: Values,
        wanted: str | None,
        odd: tuple[int | Index, ...] | None = None,
    ) -> Parts:
        """Return what the results, or the wanted one, are where ``old`` of the line is ``a·new``."""
        with np.errstate(all="ignore"):
            lost = experiment.moved(self.form, self.place, old, wanted=wanted)
            gained = experiment.moved(self.form, self.place, new, odd, wanted)
        right = experiment.right()
        return {
            symbol: (right[symbol] - change, gained[symbol])
            for symbol, change in lost.items()
            if symbol in right and gained[symbol].shape == right[symbol].shape
        }

    # Names

    def axes(self, name: str) -> tuple[Expr, ...]:
        """Return the sizes of a name's axes."""
        for line in self.form.lines:
            if line.symbol == name:
                return tuple(i.size for i in line.indices)
        layer = self.derived.layer
        parameter = layer.parameter(name)
        if parameter is not None:
            return parameter.axes
        found = next((s for s in self.derived.forward if s.name == name), None)
        if found is not None:
            return found.axes
        output = next((o for o, c in self.derived.cotangents.items() if c == name), None)
        return layer.axes(output) if output is not None else ()

    def values(self) -> dict[str, Tensor]:
        """Return the real parameters and forward values."""
        found = {p.name: p.tensor for p in self.derived.layer.parameters if p.kind.differentiable}
        return found | {s.name: s.tensor for s in self.derived.forward if s.kind.differentiable}

    def is_inverse(self, name: str) -> bool:
        """Return whether a forward value is one over something, such as ``1/sqrt(var + eps)``."""
        found = next((s.expr for s in self.derived.forward if s.name == name), None)
        return isinstance(found, Pow) and bool(found.exp.is_negative)

    def earlier(self) -> dict[str, Tensor]:
        """Return the cotangents and the adjoints of earlier lines."""
        names = [*self.derived.cotangents.values(), *(line.symbol for line in self.form.lines[: self.place])]
        return {name: Tensor(name) for name in names}
