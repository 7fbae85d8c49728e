"""Mistakes in a whole result of the right shape: its factor, its axes, another result in its place, its labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from sympy import Expr

from derive.algebra.nodes import Delta, Element, Kind
from derive.algebra.terms import Term, as_expr
from derive.algebra.text import show
from derive.check.samples import label_ranges
from derive.diagnosis.causes import Cause, Fits, Guess, Parts
from derive.diagnosis.dense import Dense, Values
from derive.diagnosis.edits import factor_text, line_text
from derive.diagnosis.experiment import Experiment
from derive.diagnosis.forms import Derivation, Form, Line

__all__ = ["axis_names", "lines_of", "place", "whole_guesses"]

_Value = Callable[[Experiment], Values]


def lines_of(derived: Derivation, symbol: str) -> Iterator[tuple[Form, Line]]:
    """Yield the lines of every form that define a result."""
    for form in derived.forms:
        for line in form.lines:
            if line.symbol == symbol:
                yield form, line


def place(derived: Derivation, symbol: str) -> tuple[str, str]:
    """Return the right formula of a result, and the line that says it; the closed form's comes first."""
    found = list(lines_of(derived, symbol))
    if not found:
        statement = derived.program.definition(symbol)
        return ("", "") if statement is None else (show(statement.expr), str(statement))
    line = found[-1][1]
    return show(line.shown), line_text(line)


def axis_names(derived: Derivation, experiment: Experiment, symbol: str) -> list[str]:
    """Return what the axes of a result are called: its letters, or its sizes."""
    for _, line in lines_of(derived, symbol):
        return [i.name for i in line.indices]
    return [show(a) for a in experiment.axes_of(symbol)]


@dataclass(frozen=True)
class _Whole:
    """A result, about which guesses are made.

    Attributes:
        derived: the derivation.
        symbol: the result's.
        first: an experiment, for shapes and names.
    """

    derived: Derivation
    symbol: str
    first: Experiment

    @property
    def shape(self) -> tuple[int, ...]:
        return self.first.right()[self.symbol].shape

    @property
    def names(self) -> list[str]:
        return axis_names(self.derived, self.first, self.symbol)

    def guess(self, cause: Cause, text: str, cost: float, value: _Value, fits: Fits | None = None) -> Guess:
        """Return the guess that the result is ``value``; with ``fits``, times a factor."""
        symbol = self.symbol

        def parts(e: Experiment) -> Parts | None:
            with np.errstate(all="ignore"):
                found = value(e)
            if found.shape != e.right()[symbol].shape:
                return None
            return {symbol: (found, None) if fits is None else (np.zeros_like(found), found)}

        formula, line = place(self.derived, symbol)
        return Guess(cause, text, formula, line, cost, parts, frozenset((symbol,)), fits)

    def right(self, e: Experiment) -> Values:
        return e.right()[self.symbol]

    def scaled(self) -> Guess:
        symbol = self.symbol

        def fits(value: float, name: str | None) -> tuple[Cause, str] | None:
            if abs(value) < 1e-9:
                return Cause.ZERO, f"{symbol} is zero"
            if name == "-1":
                return Cause.SIGN, f"{symbol} has the wrong sign"
            return None if name is None else (Cause.FACTOR, factor_text(symbol, name))

        return self.guess(Cause.FACTOR, "", 1.0, self.right, fits)

    def others(self) -> Iterator[Guess]:
        """Yield the guesses that another result, or a value, stands in its place."""
        for other, value in self.first.right().items():
            if other != self.symbol and value.shape == self.shape:
                text = f"{other} stands in the place of {self.symbol}"
                yield self.guess(Cause.SWAPPED, text, 1.3, lambda e, name=other: e.right()[name])  # type: ignore[misc]
        for other, value in self.first.known().items():
            if value.shape == self.shape and value.dtype.kind == "f":
                text = f"{other} stands in the place of {self.symbol}"
                yield self.guess(Cause.SWAPPED, text, 1.6, lambda e, name=other: e.known()[name])  # type: ignore[misc]

    def turned(self) -> Iterator[Guess]:
        """Yield the guesses that axes are exchanged, turned around, or summed over."""
        symbol, names, rank = self.symbol, self.names, len(self.shape)
        for order in list(permutations(range(rank)))[1:]:

            def transposed(e: Experiment, order: tuple[int, ...] = order) -> Values:
                return self.right(e).transpose(order)

            def reshaped(e: Experiment, order: tuple[int, ...] = order) -> Values:
                return self.right(e).transpose(order).reshape(self.right(e).shape)

            axes = ", ".join(names[k] for k in order)
            yield self.guess(Cause.TRANSPOSE, f"{symbol} is transposed: its axes lie as ({axes})", 1.2, transposed)
            text = f"{symbol} is reshaped where it should be transposed"
            yield self.guess(Cause.TRANSPOSE, text, 1.5, reshaped)
        for axis in range(rank):

            def turned(e: Experiment, axis: int = axis) -> Values:
                return np.flip(self.right(e), axis)

            def summed(e: Experiment, axis: int = axis) -> Values:
                right = self.right(e)
                return np.broadcast_to(right.sum(axis=axis, keepdims=True), right.shape)

            too = f"{symbol} is summed over {names[axis]}, which it should not be"

            def fits(value: float, name: str | None, text: str = too) -> tuple[Cause, str] | None:
                return None if name is None else (Cause.SUM_AXIS, text)

            yield self.guess(Cause.TRANSPOSE, f"{symbol} is turned around along {names[axis]}", 1.4, turned)
            yield self.guess(Cause.SUM_AXIS, too, 1.7, summed, fits)

    def multiplied(self) -> Iterator[Guess]:
        """Yield the guesses that the result has a forward value as a factor, or lacks it."""
        axes = self.first.axes_of(self.symbol)
        if len(set(axes)) != len(axes):
            return
        layer = self.derived.layer
        known = [(p.name, p.axes) for p in layer.parameters if p.kind.differentiable]
        known += [(s.name, s.axes) for s in self.derived.forward if s.kind.differentiable]
        for name, own in known:
            if not all(a in axes for a in own) or len(set(own)) != len(own):
                continue
            letters = [self.names[axes.index(a)] for a in own]
            shown = f"{name}[{', '.join(letters)}]" if letters else name
            for exponent in (1.0, -1.0, 2.0, -2.0, 0.5, -0.5):
                power = "" if abs(exponent) == 1 else f"**{abs(exponent):g}"
                what = "is too many in" if exponent > 0 else "is missing in"
                text = f"the factor {shown}{power} {what} {self.symbol}"
                cost = 1.7 + 0.1 * (abs(exponent) != 1)
                value = self._times(name, own, axes, exponent)
                yield self.guess(Cause.FACTOR, text, cost, value, _and_factor(Cause.FACTOR, text))

    def _times(self, name: str, own: tuple[Expr, ...], axes: tuple[Expr, ...], exponent: float) -> _Value:
        order = sorted(range(len(own)), key=lambda k: axes.index(own[k]))

        def value(e: Experiment) -> Values:
            factor = e.known()[name]
            shape = [factor.shape[own.index(a)] if a in own else 1 for a in axes]
            product: Values = self.right(e) * factor.transpose(order).reshape(shape) ** exponent
            return product

        return value

    def overwritten(self) -> Iterator[Guess]:
        """``dC[x] = demb`` where labels agree: the last one stays, where all should be added."""
        for form, line in lines_of(self.derived, self.symbol):
            if len(line.pieces) != 1:
                continue
            term = line.pieces[0].term
            gathers = [a for a, _ in term.factors if isinstance(a, Delta) and _gathers(a)]
            places: dict[Expr, Expr] = {}
            for delta in gathers:
                for own, other in (delta.args, delta.args[::-1]):
                    if own in line.indices:
                        places[own] = other
            if not gathers or len(places) != len(gathers):
                continue
            rest = Term(term.coefficient, term.without(gathers), ())
            text = f"{self.symbol} is written where it should be added to: of equal labels only the last counts"
            yield self.guess(Cause.OVERWRITTEN, text, 1.8, _last(form, line, rest, places))


def _gathers(delta: Delta) -> bool:
    return any(isinstance(a, Element) and a.kind is Kind.INT for a in delta.args)


def _last(form: Form, line: Line, rest: Term, places: dict[Expr, Expr]) -> _Value:
    kept = [i for i in line.indices if i not in places]
    bound = line.pieces[0].term.bound

    def value(e: Experiment) -> Values:
        dense = Dense(e.instance, e.arrays(form))
        order = (*bound, *kept)
        body = dense.at(as_expr((rest,)), order)
        result = np.zeros(tuple(map(dense.length, line.indices)))
        at = [dense.at(places.get(i, i), order).astype(int) for i in line.indices]
        for where in np.ndindex(body.shape):
            result[tuple(a[where] for a in at)] = body[where]
        return result

    return value


def _and_factor(cause: Cause, text: str) -> Fits:
    """Return a judgement that lets a further factor pass where it has a name."""

    def fits(value: float, name: str | None) -> tuple[Cause, str] | None:
        if name == "1":
            return cause, text
        return None if name is None else (cause, f"{text}, and it has the factor {name} too many")

    return fits


def whole_guesses(derived: Derivation, symbol: str, first: Experiment) -> Iterator[Guess]:
    """Yield the guesses about one result of the right shape, and those about the labels."""
    whole = _Whole(derived, symbol, first)
    yield whole.scaled()
    yield from whole.others()
    yield from whole.turned()
    yield from whole.multiplied()
    yield from whole.overwritten()
    yield from _labels(derived, symbol, first)


def _labels(derived: Derivation, symbol: str, first: Experiment) -> Iterator[Guess]:
    """Every result at labels that are off by one; the last is followed by the first."""
    formula, line = place(derived, symbol)
    for name, ranges in label_ranges(derived.layer).items():
        if derived.layer.parameter(name) is None:
            continue
        for step in (1, -1):

            def parts(e: Experiment, name: str = name, step: int = step, size: Expr = ranges[0]) -> Parts:
                count = e.instance.extent(size)
                moved = {key: (label + step) % count for key, label in e.sample.inputs[name].items()}
                other = replace(e.sample, inputs={**e.sample.inputs, name: moved})
                found = Experiment(derived, other, ones=e.ones).right()
                return {s: (value, None) for s, value in found.items()}

            text = f"the labels {name} are off by one: {name} {'+' if step > 0 else '-'} 1 stands where {name} belongs"
            yield Guess(Cause.LABELS, text, formula, line, 1.4, parts, frozenset(first.right()))
