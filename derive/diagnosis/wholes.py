"""Mistakes in a whole result: its factor, its shape, another result in its place, its labels."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, permutations

import numpy as np
from sympy import Expr

from derive.algebra.indices import free_indices
from derive.algebra.nodes import Delta, Element, Index, Kind
from derive.algebra.terms import Term, as_expr
from derive.algebra.text import show
from derive.diagnosis.causes import Cause, Guess, Parts
from derive.diagnosis.dense import Dense, Values
from derive.diagnosis.edits import line_text
from derive.diagnosis.experiment import Experiment
from derive.diagnosis.forms import Derivation, Form, Line

__all__ = ["misshapen", "place", "whole_guesses"]


def _lines(derived: Derivation, symbol: str) -> Iterator[tuple[Form, Line]]:
    for form in derived.forms:
        for line in form.lines:
            if line.symbol == symbol:
                yield form, line


def place(derived: Derivation, symbol: str) -> tuple[str, str]:
    """Return the right formula of a result, and the line that says it; the closed form's comes first."""
    found = list(_lines(derived, symbol))
    if not found:
        statement = derived.program.definition(symbol)
        return ("", "") if statement is None else (show(statement.expr), str(statement))
    line = found[-1][1]
    return show(line.shown), line_text(line)


def _names(derived: Derivation, experiment: Experiment, symbol: str) -> list[str]:
    """Return what the axes of a result are called: its letters, or its sizes."""
    for _, line in _lines(derived, symbol):
        return [i.name for i in line.indices]
    return [show(a) for a in experiment.axes_of(symbol)]


def whole_guesses(derived: Derivation, symbol: str, first: Experiment) -> Iterator[Guess]:
    """Yield the guesses about one result of the right shape."""
    right, line = place(derived, symbol)
    alone = frozenset((symbol,))
    shape = first.right()[symbol].shape

    def scaled(value: float, name: str | None) -> tuple[Cause, str] | None:
        if abs(value) < 1e-9:
            return Cause.ZERO, f"{symbol} is zero"
        if name == "-1":
            return Cause.SIGN, f"{symbol} has the wrong sign"
        return None if name is None else (Cause.FACTOR, factor_text(symbol, name))

    yield Guess(Cause.FACTOR, "", right, line, 1.0,
                lambda e: {symbol: (np.zeros_like(e.right()[symbol]), e.right()[symbol])}, alone, scaled)  # fmt: skip
    for other, value in first.right().items():
        if other != symbol and value.shape == shape:
            yield Guess(Cause.SWAPPED, f"{other} stands in the place of {symbol}", right, line, 1.3,
                        lambda e, other=other: {symbol: (e.right()[other], None)}, alone)  # type: ignore[misc]  # fmt: skip
    for other, value in {**first.forward, **first.inputs, **first.cotangents}.items():
        if value.shape == shape and value.dtype.kind == "f":
            yield Guess(Cause.SWAPPED, f"{other} stands in the place of {symbol}", right, line, 1.6,
                        lambda e, other=other: {symbol: (_known(e, other), None)}, alone)  # type: ignore[misc]  # fmt: skip
    yield from _turned(derived, symbol, first, alone, right, line)
    yield from _multiplied(derived, symbol, first, alone, right, line)
    yield from _overwritten(derived, symbol, alone, right, line)


def _known(experiment: Experiment, name: str) -> Values:
    return {**experiment.forward, **experiment.inputs, **experiment.cotangents}[name]


def factor_text(what: str, name: str) -> str:
    """Say that something has a factor too many, or lacks its inverse."""
    sign = " and the wrong sign" if name.startswith("-") else ""
    name = name.removeprefix("-")
    if "/" in name or name.replace(".", "").isdigit():
        return f"{what} has the factor {name} too many{sign}"
    inverse = f"1/({name})" if "*" in name else f"1/{name}"
    return f"{what} lacks the factor {inverse}{sign}"


def _turned(
    derived: Derivation, symbol: str, first: Experiment, alone: frozenset[str], right: str, line: str
) -> Iterator[Guess]:
    shape = first.right()[symbol].shape
    names = _names(derived, first, symbol)
    for order in permutations(range(len(shape))):
        if list(order) != list(range(len(shape))) and tuple(shape[k] for k in order) == shape:
            axes = ", ".join(names[k] for k in order)
            yield Guess(Cause.TRANSPOSE, f"{symbol} is transposed: its axes lie as ({axes})", right, line, 1.2,
                        lambda e, order=order: {symbol: (e.right()[symbol].transpose(order), None)}, alone)  # type: ignore[misc]  # fmt: skip
    for axis in range(len(shape)):
        if shape[axis] > 1:
            yield Guess(Cause.TRANSPOSE, f"{symbol} is turned around along {names[axis]}", right, line, 1.4,
                        lambda e, axis=axis: {symbol: (np.flip(e.right()[symbol], axis), None)}, alone)  # type: ignore[misc]  # fmt: skip
            text = f"{symbol} has its mean over {names[axis]} in every place"
            yield Guess(Cause.SUM_AXIS, text, right, line, 1.7,
                        lambda e, axis=axis: {symbol: (np.zeros_like(e.right()[symbol]), np.broadcast_to(
                            e.right()[symbol].sum(axis=axis, keepdims=True), e.right()[symbol].shape))}, alone,
                        lambda v, n, axis=axis: None if n is None else (  # type: ignore[misc]
                            Cause.SUM_AXIS, f"{symbol} is summed over {names[axis]}, which it should not be"))  # fmt: skip
    for orders in permutations(range(len(shape))):
        if list(orders) != list(range(len(shape))):
            text = f"{symbol} is reshaped where it should be transposed"
            yield Guess(Cause.TRANSPOSE, text, right, line, 1.5,
                        lambda e, o=orders: {symbol: (e.right()[symbol].transpose(o).reshape(e.right()[symbol].shape), None)},  # type: ignore[misc]
                        alone)  # fmt: skip


def _multiplied(
    derived: Derivation, symbol: str, first: Experiment, alone: frozenset[str], right: str, line: str
) -> Iterator[Guess]:
    """A forward value too many, or its inverse: the right result times it."""
    axes = first.axes_of(symbol)
    if len(set(axes)) != len(axes):
        return
    layer = derived.layer
    known = [(p.name, p.axes) for p in layer.parameters if p.kind.differentiable]
    known += [(s.name, s.axes) for s in derived.forward if s.kind.differentiable]
    for name, own in known:
        if not all(a in axes for a in own) or len(set(own)) != len(own):
            continue
        letters = [_names(derived, first, symbol)[axes.index(a)] for a in own]
        shown = f"{name}[{', '.join(letters)}]" if letters else name
        for exponent in (1.0, -1.0, 2.0, -2.0, 0.5, -0.5):

            def parts(e: Experiment, name: str = name, own: tuple[Expr, ...] = own, x: float = exponent) -> Parts:
                value = {**e.forward, **e.inputs}[name]
                order = sorted(range(len(own)), key=lambda k: axes.index(own[k]))
                shape = [value.shape[own.index(a)] if a in own else 1 for a in axes]
                with np.errstate(all="ignore"):
                    factor = value.transpose(order).reshape(shape) ** x
                return {symbol: (np.zeros_like(e.right()[symbol]), e.right()[symbol] * factor)}

            if exponent > 0:
                power = "" if exponent == 1 else f"**{exponent:g}"
                text = f"the factor {shown}{power} is too many in {symbol}"
            else:
                power = "" if exponent == -1 else f"**{-exponent:g}"
                text = f"the factor {shown}{power} is missing in {symbol}"

            def fits(value: float, n: str | None, text: str = text) -> tuple[Cause, str] | None:
                if n == "1":
                    return Cause.FACTOR, text
                return None if n is None else (Cause.FACTOR, f"{text}, and it has the factor {n} too many")

            yield Guess(Cause.FACTOR, text, right, line, 1.7 + 0.1 * (abs(exponent) != 1), parts, alone, fits)


def _overwritten(derived: Derivation, symbol: str, alone: frozenset[str], right: str, line: str) -> Iterator[Guess]:
    """``dC[x] = demb`` where labels agree: the last one stays, where all should be added."""
    for form, found in _lines(derived, symbol):
        if len(found.pieces) != 1:
            continue
        term = found.pieces[0].term
        gathers = [a for a, _ in term.factors if isinstance(a, Delta) and any(
            isinstance(x, Element) and x.kind is Kind.INT for x in a.args)]  # fmt: skip
        if not gathers or not all(a.args[0] in found.indices or a.args[1] in found.indices for a in gathers):
            continue
        rest = Term(term.coefficient, term.without(gathers), ())
        places = {next(x for x in a.args if x in found.indices): next(x for x in a.args if x not in found.indices)
                  for a in gathers}  # fmt: skip
        kept = [i for i in found.indices if i not in places]
        inner = [i for i in sorted(term.bound, key=lambda i: [i in free_indices(p) for p in places.values()])]

        def parts(
            e: Experiment, form: Form = form, found: Line = found, rest: Term = rest,
            places: dict[Index, Expr] = places, kept: list[Index] = kept, inner: list[Index] = inner,
        ) -> Parts:  # fmt: skip
            dense = Dense(e.instance, e.arrays(form))
            order = (*inner, *kept)
            body = dense.at(as_expr((rest,)), order)
            result = np.zeros(e.right()[symbol].shape)
            at = []
            for i in found.indices:
                expr = places.get(i, i)
                at.append(np.broadcast_to(dense.at(expr, order).astype(int), body.shape))
            for where in np.ndindex(body.shape):
                result[tuple(a[where] for a in at)] = body[where]
            return {symbol: (result, None)}

        text = f"{symbol} is written where it should be added to: of equal labels only the last counts"
        yield Guess(Cause.OVERWRITTEN, text, right, line, 1.8, parts, alone)


def misshapen(
    derived: Derivation, symbol: str, got: Values, experiment: Experiment
) -> Iterator[tuple[Cause, str, Values]]:
    """Yield what a result of another shape could be: cause, text, and the value it would have."""
    right = experiment.right()[symbol]
    names = _names(derived, experiment, symbol)
    flat = got.reshape([n for n in got.shape if n != 1])
    if flat.shape == tuple(n for n in right.shape if n != 1):
        yield Cause.SHAPE, f"{symbol} has the right numbers in the shape {got.shape}", right.reshape(got.shape)
    for order in permutations(range(right.ndim)):
        if tuple(right.shape[k] for k in order) == got.shape and list(order) != list(range(right.ndim)):
            axes = ", ".join(names[k] for k in order)
            yield Cause.TRANSPOSE, f"{symbol} is transposed: its axes lie as ({axes})", right.transpose(order)
    if got.ndim < right.ndim or got.size < right.size:
        for count in range(1, right.ndim + 1):
            for axes in combinations(range(right.ndim), count):
                for keep in (False, True):
                    total = right.sum(axis=axes, keepdims=keep)
                    if total.shape == got.shape:
                        over = ", ".join(names[k] for k in axes)
                        yield Cause.SUM_AXIS, f"{symbol} is summed over {over}, which it should not be", total
    for form, line in _lines(derived, symbol):
        if len(line.pieces) != 1:
            continue
        term = line.pieces[0].term
        everything = tuple(dict.fromkeys((*(i for a, _ in term.factors for i in sorted(free_indices(a), key=str)),)))
        loose = Term(term.coefficient, term.factors, ())
        if len(everything) > 6:
            continue
        dense = Dense(experiment.instance, experiment.arrays(form))
        body = dense.at(as_expr((loose,)), everything)
        for count in range(len(everything) + 1):
            for keep in combinations(range(len(everything)), count):
                total = body.sum(axis=tuple(k for k in range(len(everything)) if k not in keep))
                for order in permutations(range(len(keep))):
                    turned = total.transpose(order)
                    if tuple(n for n in turned.shape if n != 1) != flat.shape:
                        continue
                    left = [everything[k] for k in keep if everything[k] not in line.indices]
                    lost = [i for i in line.indices if i not in [everything[k] for k in keep] and i in everything]
                    letters = ", ".join(i.name.partition("'")[0] for i in left)
                    if left and not lost:
                        yield (
                            Cause.SUM_MISSING,
                            f"the sum over {letters} in {symbol} is missing",
                            turned.reshape(got.shape),
                        )
                    elif left:
                        gone = ", ".join(i.name for i in lost)
                        text = f"{symbol} is summed over {gone} where it should be summed over {letters}"
                        yield Cause.SUM_AXIS, text, turned.reshape(got.shape)
    summed = [axes for count in range(1, got.ndim) for axes in combinations(range(got.ndim), count)]
    for axes in summed:
        if got.sum(axis=axes).shape == right.shape and np.allclose(got.sum(axis=axes), right):
            yield Cause.SUM_MISSING, f"the sum over axis {', '.join(map(str, axes))} of {symbol} is missing", got
