"""A result, or one term of it, that has a product of forward values as a factor: gamma/std where 1/std belongs.

Where a line is a result itself, what its terms have as a factor can be read
off: the quotient of what was got and what is right, element by element. If it
is ``v**a * w**b`` of two forward values, up to a constant, that is found by
trying the few that there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations, product

import numpy as np

from derive.diagnosis.causes import Cause, Guess, Parts
from derive.diagnosis.dense import Values
from derive.diagnosis.experiment import Experiment
from derive.diagnosis.forms import Derivation, Form, Line, Piece
from derive.diagnosis.site import Site, with_factor

__all__ = ["monomial_guesses"]

_EXPONENTS = (1, -1, 2, -2)


def monomial_guesses(derived: Derivation, symbol: str, got: Values, first: Experiment) -> Iterator[Guess]:
    """Yield the guesses that fit the quotient at one experiment.

    Args:
        derived: the derivation.
        symbol: the result.
        got: what the user's code gave for it at ``first``.
        first: an experiment.
    """
    for form in derived.forms:
        for place, line in enumerate(form.lines):
            if line.symbol != symbol:
                continue
            values = _spread(derived, first, line)
            pieces = [(p,) for p in line.pieces] + ([line.pieces] if len(line.pieces) > 1 else [])
            for several in pieces:
                wrong = sum((first.value(form, line, p.term) for p in several), np.zeros(()))
                with np.errstate(all="ignore"):
                    quotient = (got - first.right()[symbol] + wrong) / wrong
                if np.isfinite(quotient).all() and quotient.all():
                    for exponents in _fitting(quotient, values):
                        yield _guess(Site(derived, form, place), tuple(several), exponents)


def _spread(derived: Derivation, experiment: Experiment, line: Line) -> dict[str, Values]:
    """Return the forward values that can be read with the line's indices, as arrays of its axes."""
    site_axes = tuple(i.size for i in line.indices)
    if len(set(site_axes)) != len(site_axes):
        return {}
    known = experiment.known()
    found = {}
    owners = [(p.name, p.axes) for p in derived.layer.parameters if p.kind.differentiable]
    owners += [(s.name, s.axes) for s in derived.forward if s.kind.differentiable]
    for name, axes in owners:
        if set(axes) <= set(site_axes) and len(set(axes)) == len(axes):
            order = sorted(range(len(axes)), key=lambda k: site_axes.index(axes[k]))
            shape = [known[name].shape[axes.index(a)] if a in axes else 1 for a in site_axes]
            value = known[name].transpose(order).reshape(shape)
            if np.isfinite(value).all() and value.all():
                found[name] = value
    return found


def _fitting(quotient: Values, values: Mapping[str, Values]) -> Iterator[dict[str, int]]:
    """Yield exponents of two values whose product is the quotient up to a constant."""
    for a, b in combinations(values, 2):
        for x, y in product(_EXPONENTS, _EXPONENTS):
            with np.errstate(all="ignore"):
                rest = quotient / (values[a] ** x * values[b] ** y)
            middle = rest.mean()
            if np.isfinite(middle) and middle and np.abs(rest - middle).max() <= 1e-6 * abs(middle):
                yield {a: x, b: y}


def _guess(site: Site, pieces: tuple[Piece, ...], exponents: Mapping[str, int]) -> Guess:
    form: Form = site.form
    line = site.line
    above = [f"{n}**{x}" if x > 1 else n for n, x in exponents.items() if x > 0]
    below = [f"{n}**{-x}" if x < -1 else n for n, x in exponents.items() if x < 0]
    which = site.symbol if len(pieces) == len(line.pieces) else site.called(pieces[0])
    if above and below:
        cause, text = Cause.INTERMEDIATE, f"{above[0]} stands in {which} where {below[0]} belongs"
    elif above:
        cause, text = Cause.FACTOR, f"{which} has the factors {' and '.join(above)} too many"
    else:
        cause, text = Cause.FACTOR, f"{which} lacks the factors {' and '.join(below)}"

    def parts(e: Experiment, wanted: str | None) -> Parts | None:
        values = _spread(site.derived, e, line)
        old = sum((e.value(form, line, p.term) for p in pieces), np.zeros(()))
        if not exponents.keys() <= values.keys():
            return None
        with np.errstate(all="ignore"):
            factor = np.prod(np.broadcast_arrays(*(values[n] ** x for n, x in exponents.items())), axis=0)
        right = e.right()[site.symbol]
        return {site.symbol: (right - old, old * factor)}

    cost = 2.4 + 0.05 * (len(pieces) != len(line.pieces))
    formula = site.shown(pieces[0].term) if len(pieces) == 1 else ""
    from_line = site.guess(cause, text, {p: p.term for p in pieces}, cost)
    reach = frozenset((site.symbol,))
    return Guess(cause, text, formula, from_line.line, cost, parts, reach, with_factor(cause, text))
