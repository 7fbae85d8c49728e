"""Mistakes in a whole result of the right shape: its factor, its axes, another result in its place, its labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations, permutations

import numpy as np
from sympy import Expr

from derive.algebra.indices import free_indices
from derive.algebra.nodes import Delta, Index
from derive.algebra.terms import Term, as_expr
from derive.algebra.text import show
from derive.check.samples import label_ranges
from derive.diagnosis.causes import Cause, Fits, Guess, Parts
from derive.diagnosis.dense import Dense, Named, Values
from derive.diagnosis.experiment import Experiment
from derive.diagnosis.forms import Derivation, Form, Line
from derive.diagnosis.site import factor_text, line_text, with_factor

__all__ = ["axis_names", "factors", "lines_of", "place", "whole_guesses"]

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

        def parts(e: Experiment, wanted: str | None) -> Parts | None:
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
            if name == "0":
                return Cause.ZERO, f"{symbol} is zero"
            if name == "-1":
                return Cause.SIGN, f"{symbol} has the wrong sign"
            return None if name is None else (Cause.FACTOR, factor_text(symbol, name))

        return self.guess(Cause.FACTOR, "", 1.0, self.right, fits)

    def others(self, *, near: bool) -> Iterator[Guess]:
        """Yield the guesses that another result (``near``), or any other value, stands in its place."""
        gradients = {symbol for _, symbol in self.derived.program.gradients}
        found = {name: value for name, value in self.first.right().items() if (name in gradients) == near}
        if not near:
            found |= {name: value for name, value in self.first.known().items() if value.dtype.kind == "f"}
        for other, value in found.items():
            if other != self.symbol and value.shape == self.shape:
                text = f"{other} stands in the place of {self.symbol}"
                yield self.guess(Cause.SWAPPED, text, 1.3 if near else 2.4, _named(other))

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
        for count in range(1, rank + 1):
            for several in combinations(range(rank), count):

                def turned(e: Experiment, axes: tuple[int, ...] = several) -> Values:
                    return np.flip(self.right(e), axes)

                which = " and ".join(names[k] for k in several)
                yield self.guess(Cause.TRANSPOSE, f"{symbol} is turned around along {which}", 1.4, turned)
        for axis in range(rank):

            def summed(e: Experiment, axis: int = axis) -> Values:
                right = self.right(e)
                return np.broadcast_to(right.sum(axis=axis, keepdims=True), right.shape)

            too = f"{symbol} is summed over {names[axis]}, which it should not be"

            def fits(value: float, name: str | None, text: str = too) -> tuple[Cause, str] | None:
                return None if name is None else (Cause.SUM_AXIS, text)

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
                cost = 2.35 + 0.1 * (abs(exponent) != 1)
                value = self._times(name, own, axes, exponent)
                yield self.guess(Cause.FACTOR, text, cost, value, with_factor(Cause.FACTOR, text))

    def _times(self, name: str, own: tuple[Expr, ...], axes: tuple[Expr, ...], exponent: float) -> _Value:
        order = sorted(range(len(own)), key=lambda k: axes.index(own[k]))

        def value(e: Experiment) -> Values:
            factor = e.known()[name]
            shape = [factor.shape[own.index(a)] if a in own else 1 for a in axes]
            product: Values = self.right(e) * factor.transpose(order).reshape(shape) ** exponent
            return product

        return value

    def overwritten(self) -> Iterator[Guess]:
        """``dC[x] = demb`` where labels agree, ``dx[window] = …`` where windows meet: the last one stays."""
        for form, line in lines_of(self.derived, self.symbol):
            if len(line.pieces) != 1:
                continue
            term = line.pieces[0].term
            deltas = [a for a, _ in term.factors if isinstance(a, Delta)]
            places: dict[Expr, Expr] = {}
            for delta in deltas:
                for own, other in (delta.args, delta.args[::-1]):
                    if own in line.indices:
                        places[own] = other
            if not deltas or len(places) != len(deltas):
                continue
            moving = [i for i in term.bound if any(i in free_indices(p) for p in places.values())]
            text = f"{self.symbol} is written where it should be added to: of what lands at one place, the last stays"
            for order in dict.fromkeys((tuple(moving), tuple(reversed(moving)), *_kernels_first(moving, places))):
                yield self.guess(Cause.OVERWRITTEN, text, 1.8, _last(form, line, deltas, places, order))


def _kernels_first(moving: list[Index], places: dict[Expr, Expr]) -> Iterator[tuple[Index, ...]]:
    """Yield orders in which one index of every place comes before the others: positions, or those of the kernel."""
    groups = [[i for i in moving if i in free_indices(p)] for p in places.values()]
    if all(len(g) == 2 for g in groups):
        for k in (0, 1):
            yield (*(g[k] for g in groups), *(g[1 - k] for g in groups))


def _named(name: str) -> _Value:
    return lambda e: {**e.known(), **e.right()}[name]


def _last(form: Form, line: Line, deltas: list[Delta], places: dict[Expr, Expr], moving: tuple[Index, ...]) -> _Value:
    term = line.pieces[0].term
    kept = tuple(i for i in line.indices if i not in places)
    rest = Term(term.coefficient, term.without(deltas), tuple(i for i in term.bound if i not in moving))

    def value(e: Experiment) -> Values:
        dense = Dense(e.instance, e.arrays(form))
        body = dense.at(as_expr((rest,)), (*moving, *kept))
        shape = tuple(map(dense.length, line.indices))
        result = np.zeros(tuple(shape[line.indices.index(i)] for i in (*places, *kept)))
        at = [dense.at(place, moving).astype(int) for place in places.values()]
        for where in np.ndindex(tuple(map(dense.length, moving))):
            target = tuple(int(a[where]) for a in at)
            if all(0 <= t < n for t, n in zip(target, result.shape, strict=False)):
                result[target] = body[where]
        return Named(result, (*places, *kept)).along(line.indices)

    return value


def whole_guesses(derived: Derivation, symbol: str, first: Experiment) -> Iterator[Guess]:
    """Yield the guesses about one result of the right shape, and those about the labels."""
    whole = _Whole(derived, symbol, first)
    yield whole.scaled()
    yield from whole.others(near=True)
    yield from whole.turned()
    yield from whole.overwritten()
    yield from _labels(derived, symbol, first)


def factors(derived: Derivation, symbol: str, first: Experiment) -> Iterator[Guess]:
    """Yield the guesses that a result has a forward value as a factor, lacks it, or is another value."""
    yield from _Whole(derived, symbol, first).multiplied()
    yield from _Whole(derived, symbol, first).others(near=False)


def _labels(derived: Derivation, symbol: str, first: Experiment) -> Iterator[Guess]:
    """Every result at labels that are off by one; the last is followed by the first."""
    formula, line = place(derived, symbol)
    for name, ranges in label_ranges(derived.layer).items():
        if derived.layer.parameter(name) is None:
            continue
        for step in (1, -1):

            def parts(
                e: Experiment, wanted: str | None, name: str = name, step: int = step, size: Expr = ranges[0]
            ) -> Parts:
                count = e.instance.extent(size)
                moved = {key: (label + step) % count for key, label in e.sample.inputs[name].items()}
                other = replace(e.sample, inputs={**e.sample.inputs, name: moved})
                found = Experiment(derived, other, ones=e.ones).right()
                return {s: (value, None) for s, value in found.items()}

            text = f"the labels {name} are off by one: {name} {'+' if step > 0 else '-'} 1 stands where {name} belongs"
            yield Guess(Cause.LABELS, text, formula, line, 1.4, parts, frozenset(first.right()))
