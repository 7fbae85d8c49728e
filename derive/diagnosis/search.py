"""The search for explanations: each guess is fitted at one experiment and has to hold at all the others."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from derive.diagnosis.causes import Explanation, Guess, Parts
from derive.diagnosis.dense import Values
from derive.diagnosis.edits import phase
from derive.diagnosis.experiment import Experiment
from derive.diagnosis.factors import recognized
from derive.diagnosis.forms import Derivation
from derive.diagnosis.forwards import forward_guesses
from derive.diagnosis.monomials import monomial_guesses
from derive.diagnosis.wholes import factors, whole_guesses

__all__ = ["PATIENCE", "Trial", "distance", "explain", "fitted"]


PATIENCE = 120.0
"""Seconds of search for what explains a wrong result."""


def distance(got: Values, expected: Values) -> float:
    """Return the largest difference, relative to the largest of both; infinite where one is not finite."""
    if got.shape != expected.shape:
        return float("inf")
    if got.size == 0:
        return 0.0
    with np.errstate(all="ignore"):
        difference = np.abs(got - expected).max()
        size = max(np.abs(got).max(), np.abs(expected).max())
    if not np.isfinite(difference):
        return float("inf")
    return float(difference / size) if size > 0 else 0.0


@dataclass(frozen=True)
class Trial:
    """What the user's code gave at the experiments.

    Attributes:
        experiments: the first is searched with, the others confirm.
        got: at each, the results by symbol, in the derivation's own shapes.
        wrong: the symbols of wrong results, in the derivation's order.
        right: those of right ones.
        tolerance: the relative error that results of this precision may have.
    """

    experiments: Sequence[Experiment]
    got: Sequence[Mapping[str, Values]]
    wrong: tuple[str, ...]
    right: tuple[str, ...]
    tolerance: float


def explain(derived: Derivation, trial: Trial, patience: float = PATIENCE) -> tuple[list[Explanation], bool]:
    """Return explanations that together account for as many wrong results as can be.

    Args:
        derived: the derivation.
        trial: what was observed.
        patience: seconds after which no further guess is tried.

    Returns:
        the explanations, and whether every guess was tried that could be.
    """
    found: list[Explanation] = []
    left = list(trial.wrong)
    end = time.monotonic() + patience
    while left:
        target = left[0]
        best = _best(derived, trial, target, left, end)
        if best is None:
            left.pop(0)
            continue
        found.append(best)
        left = [s for s in left if s not in best.explains]
    return found, time.monotonic() < end


def _best(derived: Derivation, trial: Trial, target: str, left: Sequence[str], end: float) -> Explanation | None:
    """Return the best explanation of a result: one that explains most, then the least far-fetched."""
    best: tuple[tuple[float, float], Explanation] | None = None
    for guesses in _stages(derived, trial, target, left):
        for guess in guesses:
            if time.monotonic() > end:
                return None if best is None else best[1]
            if target not in guess.reach:
                continue
            found = _tried(guess, trial, target, left)
            if found is None:
                continue
            explanation, broken = found
            missed = len([s for s in guess.reach if s in left]) - len(explanation.explains)
            rank = (-float(len(explanation.explains)) + 2 * broken, guess.cost + 0.5 * missed)
            if best is None or rank < best[0]:
                best = rank, explanation
        if best is not None and len(best[1].explains) == len(left) and best[0][0] == -len(left):
            break
    return None if best is None else best[1]


def _stages(derived: Derivation, trial: Trial, target: str, left: Sequence[str]) -> Iterator[Iterable[Guess]]:
    """Yield the guesses phase by phase; about lines that reach what is wrong and nothing that is right first."""
    compared = {*trial.right, *trial.wrong}
    wrong = set(left)

    def exact(reach: frozenset[str]) -> bool:
        return target in reach and not (reach & compared) - wrong

    def other(reach: frozenset[str]) -> bool:
        return target in reach and not exact(reach)

    first = trial.experiments[0]
    yield chain(whole_guesses(derived, target, first), phase(derived, 0, lambda reach: target in reach))
    yield chain(*(phase(derived, number, exact) for number in (1, 2, 3)), factors(derived, target, first))
    yield monomial_guesses(derived, target, trial.got[0][target], first)
    yield chain(phase(derived, 4, exact), forward_guesses(derived))
    yield chain(*(phase(derived, number, other) for number in (1, 2, 3)))


def _tried(guess: Guess, trial: Trial, target: str, left: Sequence[str]) -> tuple[Explanation, int] | None:
    """Return the explanation that a guess is, and how many right results it would make wrong; None where it is none."""
    values: list[float] = []
    after = before = 0.0
    explained: set[str] = set(left) & guess.reach
    broken: set[str] = set()
    quick = guess.parts(trial.experiments[0], target)
    if quick is None or target not in quick or not _good(*_errors(trial, 0, target, quick), trial.tolerance):
        return None
    for k, (experiment, got) in enumerate(zip(trial.experiments, trial.got, strict=True)):
        parts = guess.parts(experiment, None)
        if parts is None or target not in parts:
            return None
        error, was, factor = _errors(trial, k, target, parts)
        if not _good(error, was, factor, trial.tolerance):
            return None
        values.append(factor)
        after = max(after, error)
        for symbol, (start, along) in parts.items():
            predicted = start if along is None else start + factor * along
            if symbol in explained:
                off = distance(got[symbol], predicted)
                if off > max(trial.tolerance, 1e-4 * distance(got[symbol], experiment.right()[symbol])):
                    explained.discard(symbol)
                else:
                    after = max(after, off)
                    before = max(before, distance(got[symbol], experiment.right()[symbol]))
            elif symbol in trial.right and k == 0 and distance(got[symbol], predicted) > 10 * trial.tolerance:
                broken.add(symbol)
        explained &= parts.keys()
    if target not in explained:
        return None
    cause, text = guess.cause, guess.text
    if guess.fits is not None:
        flat = all(abs(v) < 1e-7 for v in values)
        name = "0" if flat else recognized(values, trial.experiments, max(1e-6, 10 * trial.tolerance))
        verdict = guess.fits(values[0], name)
        if verdict is None:
            return None
        cause, text = verdict
    order = tuple(s for s in left if s in explained)
    explanation = Explanation(cause, text, guess.formula, guess.line, order, before, after, len(trial.experiments) - 1)
    return explanation, len(broken)


def _errors(trial: Trial, k: int, target: str, parts: Parts) -> tuple[float, float, float]:
    """Return the error that a guess leaves at an experiment, the one before, and the factor that was fitted."""
    got = trial.got[k][target]
    error, factor = fitted(got, *parts[target])
    return error, distance(got, trial.experiments[k].right()[target]), factor


def _good(error: float, was: float, factor: float, tolerance: float) -> bool:
    """Return whether what is left of an error is rounding."""
    return error <= max(tolerance, 1e-4 * was) and (error <= 0.01 * was or was <= tolerance)


def fitted(got: Values, base: Values, direction: Values | None) -> tuple[float, float]:
    """Return the error of ``base + a·direction``, and the factor a that makes it least."""
    if direction is None:
        return distance(got, base), 1.0
    with np.errstate(all="ignore"):
        power = float((direction * direction).sum())
        if not np.isfinite(power) or power == 0:
            return float("inf"), 0.0
        factor = float(((got - base) * direction).sum()) / power
        near = round(factor)
        if abs(factor - near) < 1e-9 * max(1, abs(near)):
            factor = float(near)
        return distance(got, base + factor * direction), factor
