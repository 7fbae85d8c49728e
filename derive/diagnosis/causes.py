"""What can be wrong with a backward pass, and an explanation of one that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from derive.diagnosis.dense import Values
from derive.diagnosis.experiment import Experiment

__all__ = ["Cause", "Explanation", "Fits", "Guess", "Parts"]


class Cause(Enum):
    """The kinds of mistakes."""

    SHAPE = "shape"
    TRANSPOSE = "transpose"
    FACTOR = "factor"
    SIGN = "sign"
    SUM_MISSING = "missing sum"
    SUM_AXIS = "sum over the wrong axis"
    PATH_MISSING = "path left out"
    PATH_TWICE = "path counted twice"
    INTERMEDIATE = "wrong intermediate"
    DERIVATIVE = "local derivative"
    SWAPPED = "swapped names"
    LABELS = "labels off"
    OVERWRITTEN = "overwritten, not added"
    ZERO = "zero"
    SETTING = "hyper-parameter ignored"
    PLACE = "part of the elements"
    ACCUMULATED = "accumulated over calls"
    INPUT = "argument written to"
    UNSTABLE = "overflow"
    PRECISION = "float32"
    CRASH = "exception"
    UNEXPLAINED = "unexplained"


Parts = Mapping[str, tuple[Values, Values | None]]
"""By symbol: what a result would be, ``base + a·direction`` with a factor a to be found; None: ``base`` itself."""


Fits = Callable[[float, "str | None"], "tuple[Cause, str] | None"]
"""Judges a factor that was found, by its value and its name (None: it has none): cause and sentence, or None."""


@dataclass(frozen=True)
class Guess:
    """One possible mistake, to be tried.

    Attributes:
        cause: its kind.
        text: says it, ``{factor}`` standing for the factor that was found.
        formula: of the piece that is concerned, in the layer language; "" for none.
        line: of the derivation where that comes in; "" for none.
        cost: how far-fetched it is.
        parts: what the results would be at an experiment, or one of them; None where the guess does not apply.
        reach: the symbols that it changes.
        fits: whether a factor that was found (its values, its name or None) makes sense here;
            returns the cause and the text to report, or None.
    """

    cause: Cause
    text: str
    formula: str
    line: str
    cost: float
    parts: Callable[[Experiment, str | None], Parts | None]
    reach: frozenset[str]
    fits: Fits | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """A mistake that accounts for what the user's code gave.

    Attributes:
        cause: its kind.
        text: one sentence.
        formula: of the missing or wrong piece, in the layer language; "" for none.
        line: of the derivation where it comes in; "" for none.
        explains: the results that it accounts for, by symbol.
        before: the largest relative error of them as they are.
        after: of what the explanation predicts, at experiments that were not used to find it.
        experiments: how many agree.
    """

    cause: Cause
    text: str
    formula: str
    line: str
    explains: tuple[str, ...]
    before: float
    after: float
    experiments: int
