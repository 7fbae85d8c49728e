"""Results of a wrong shape: a sum that is missing, one too many or over another axis, a transpose, an axis of 1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations, permutations

import numpy as np

from derive.algebra.indices import free_indices
from derive.algebra.nodes import Index
from derive.algebra.terms import Term, as_expr
from derive.diagnosis.causes import Cause
from derive.diagnosis.dense import Dense, Values
from derive.diagnosis.experiment import Experiment
from derive.diagnosis.forms import Derivation, Form, Line
from derive.diagnosis.wholes import lines_of

__all__ = ["Shaped", "misshapen"]

Shaped = tuple[Cause, str, Values]
"""A kind of mistake, a sentence that says it, and the value that the result would have, up to a factor."""

_MOST = 7
"""Indices in a term, at most, for its sums over other axes to be tried."""


def misshapen(
    derived: Derivation,
    symbol: str,
    got: Values,
    experiment: Experiment,
    others: Mapping[str, Values],
    names: list[str],
) -> Iterator[Shaped]:
    """Yield what a result of another shape could be, the least far-fetched first.

    Args:
        derived: the derivation.
        symbol: the result.
        got: as the user's code gave it.
        experiment: where.
        others: every result as it should be, in the user's shape.
        names: what the axes of the result are called.
    """
    right = others[symbol]
    if _bare(got.shape) == _bare(right.shape):
        text = f"{symbol} has the right numbers, and an axis of length 1 too many or too few"
        yield Cause.SHAPE, text, right.reshape(got.shape)
    for order in list(permutations(range(right.ndim)))[1:]:
        if tuple(right.shape[k] for k in order) == got.shape:
            axes = ", ".join(names[k] for k in order)
            yield Cause.TRANSPOSE, f"{symbol} is transposed: its axes lie as ({axes})", right.transpose(order)
    gradients = {name for _, name in derived.program.gradients}
    others = {name: v for name, v in others.items() if name != symbol and v.shape == got.shape}
    for other, value in others.items():
        if other in gradients:
            yield Cause.SWAPPED, f"{other} stands in the place of {symbol}", value
    for count in range(1, right.ndim + 1):
        for axes_summed in combinations(range(right.ndim), count):
            total = right.sum(axis=axes_summed)
            if _bare(total.shape) == _bare(got.shape):
                over = ", ".join(names[k] for k in axes_summed)
                text = f"{symbol} is summed over {over}, which it should not be"
                yield Cause.SUM_AXIS, text, total.reshape(got.shape)
    for form, line in lines_of(derived, symbol):
        yield from _sums(form, line, got, experiment)
    for other, value in others.items():
        if other not in gradients:
            yield Cause.SWAPPED, f"{other} stands in the place of {symbol}", value
    if right.size == got.size:
        for order in permutations(range(right.ndim)):
            other_shape = right.transpose(order).reshape(got.shape)
            yield Cause.SHAPE, f"{symbol} has the right numbers in another shape", other_shape
    for count in range(1, got.ndim):
        for axes_left in combinations(range(got.ndim), count):
            total = got.sum(axis=axes_left)
            if total.shape == right.shape and np.allclose(total, right):
                which = ", ".join(map(str, axes_left))
                yield Cause.SUM_MISSING, f"the sum over axis {which} of {symbol} is missing", got


def _bare(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without axes of length 1."""
    return tuple(n for n in shape if n != 1)


def _sums(form: Form, line: Line, got: Values, experiment: Experiment) -> Iterator[Shaped]:
    """Yield the terms of a line summed over other indices than they should be."""
    dense = Dense(experiment.instance, experiment.arrays(form))
    indices: dict[Index, None] = dict.fromkeys(line.indices)
    for piece in line.pieces:
        for atom, _ in piece.term.factors:
            indices |= dict.fromkeys(sorted(free_indices(atom), key=str))
    everything = tuple(indices)
    if len(everything) > _MOST:
        return
    bodies = []
    for piece in line.pieces:
        term = piece.term
        inside = frozenset().union(*(free_indices(a) for a, _ in term.factors))
        bodies.append((inside, dense.value(as_expr((Term(term.coefficient, term.factors, ()),)))))
    for count in range(len(everything) + 1):
        for keep in combinations(everything, count):
            if np.prod([dense.length(i) for i in keep], dtype=int) != got.size:
                continue
            left = [i for i in keep if i not in line.indices]
            lost = [i for i in line.indices if i not in keep]
            if not left:
                continue
            total = np.zeros(tuple(map(dense.length, keep)))
            for inside, named in bodies:
                summed = dense.product([named], [i for i in everything if i not in keep and i in inside])
                total = total + summed.along(keep)
            cause, text = _said(line, left, lost)
            for order in permutations(range(len(keep))):
                turned = total.transpose(order)
                if _bare(turned.shape) == _bare(got.shape):
                    yield cause, text, turned.reshape(got.shape)


def _said(line: Line, left: list[Index], lost: list[Index]) -> tuple[Cause, str]:
    letters = ", ".join(i.name.partition("'")[0] for i in left)
    if not lost:
        return Cause.SUM_MISSING, f"the sum over {letters} in {line.symbol} is missing"
    gone = ", ".join(i.name for i in lost)
    return Cause.SUM_AXIS, f"{line.symbol} is summed over {gone} where it should be summed over {letters}"
