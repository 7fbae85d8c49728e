"""The outcome of a diagnosis, and how it is printed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from derive.diagnosis.causes import Cause, Explanation

__all__ = ["Diagnosis", "Result", "text"]


@dataclass(frozen=True, slots=True)
class Result:
    """How one gradient, or one stage's adjoint, compares.

    Attributes:
        symbol: its name in the derivation.
        right: whether it agrees everywhere.
        error: the largest relative error at the experiments; infinite for a wrong shape or what is not finite.
        shape: the shape that it has at the first experiment; ``expected`` the one that it should have.
        where: the subscripts at which it differs most at the first experiment, with the two values.
    """

    symbol: str
    right: bool
    error: float
    shape: tuple[int, ...]
    expected: tuple[int, ...]
    where: tuple[tuple[int, ...], float, float] | None = None


@dataclass(frozen=True)
class Diagnosis:
    """What was compared, what is wrong, and what explains it.

    Attributes:
        layer: the layer's name.
        function: the user's function.
        results: one a gradient or stage, in the order of the derivation: stages first.
        explanations: of what is wrong, in the order of the derivation.
        notes: what is worth knowing and no mistake.
        missing: gradients that the function does not return.
        experiments: on how many inputs it was compared, with their sizes.
    """

    layer: str
    function: str
    results: tuple[Result, ...]
    explanations: tuple[Explanation, ...]
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    experiments: tuple[str, ...] = ()
    formulas: dict[str, str] = field(default_factory=dict)

    @property
    def right(self) -> bool:
        """Whether nothing is wrong."""
        return not self.explanations and all(r.right for r in self.results)

    @property
    def wrong(self) -> tuple[str, ...]:
        """The symbols of what is wrong, in the order of the derivation."""
        return tuple(r.symbol for r in self.results if not r.right)

    @property
    def first(self) -> str | None:
        """The first wrong result in the order of the derivation: where a mistake enters."""
        return self.wrong[0] if self.wrong else None

    def to_json(self) -> dict[str, Any]:
        """Return everything as numbers, strings, lists and dictionaries."""
        return {
            "layer": self.layer,
            "function": self.function,
            "right": self.right,
            "first_wrong": self.first,
            "results": [
                {
                    "name": r.symbol,
                    "right": r.right,
                    "relative_error": _number(r.error),
                    "shape": list(r.shape),
                    "expected_shape": list(r.expected),
                    "worst": None
                    if r.where is None
                    else {"index": list(r.where[0]), "expected": _number(r.where[1]), "got": _number(r.where[2])},
                }
                for r in self.results
            ],
            "explanations": [
                {
                    "cause": e.cause.value,
                    "text": e.text,
                    "formula": e.formula,
                    "line": e.line,
                    "explains": list(e.explains),
                    "error_before": _number(e.before),
                    "error_after": _number(e.after),
                    "fresh_inputs": e.experiments,
                }
                for e in self.explanations
            ],
            "notes": list(self.notes),
            "missing": list(self.missing),
            "inputs": list(self.experiments),
        }

    def __str__(self) -> str:
        return text(self)


def _number(value: float) -> float | str:
    return value if value == value and abs(value) != float("inf") else str(value)


def text(found: Diagnosis) -> str:
    """Return the diagnosis for a terminal."""
    width = max((len(r.symbol) for r in found.results), default=0)
    lines = []
    verdict = "right" if found.right else "wrong"
    lines.append(f"{found.function} of {found.layer}: {verdict}")
    lines.append("")
    for r in found.results:
        mark = "right" if r.right else "WRONG"
        line = f"  {r.symbol:<{width}}  {mark}  relative error {_short(r.error)}"
        if r.shape != r.expected:
            line += f"; shape {r.shape}, expected {r.expected}"
        lines.append(line)
    lines += [f"  {name:<{width}}  not returned" for name in found.missing]
    if found.first is not None and len(found.wrong) > 1:
        lines += ["", f"first wrong, in the order of the derivation: {found.first}"]
    for e in found.explanations:
        lines += ["", *_explained(e, found)]
    lines += [*([""] if found.notes else []), *(f"note: {note}" for note in found.notes)]
    return "\n".join(lines) + "\n"


_PLAIN = (Cause.UNEXPLAINED, Cause.UNSTABLE, Cause.PRECISION, Cause.CRASH)
"""Causes that no formula of the derivation gives the numbers of."""


def _explained(e: Explanation, found: Diagnosis) -> list[str]:
    lines = [f"{', '.join(e.explains)}: {e.text}" if e.explains else e.text]
    if e.cause is not Cause.UNEXPLAINED and e.experiments:
        inputs = f"{e.experiments} further input{'s' if e.experiments > 1 else ''} of other sizes"
        lines.append(f"    evidence: relative error {_short(e.before)} as it is, {_short(e.after)} with that, "
                     f"on {inputs}")  # fmt: skip
    elif e.cause not in _PLAIN and e.before != e.after:
        lines.append(f"    evidence: relative error {_short(e.before)} as it is, {_short(e.after)} with that")
    if e.formula:
        lines.append(f"    formula:  {e.formula}")
    if e.line:
        lines.append(f"    comes in: {e.line}")
    if e.cause is Cause.UNEXPLAINED or (not e.experiments and e.cause not in _PLAIN):
        for r in found.results:
            if r.symbol in e.explains and r.where is not None:
                at, expected, got = r.where
                place = f"[{', '.join(map(str, at))}]" if at else ""
                lines.append(f"    differs most: {r.symbol}{place} is {got:.6g}, expected {expected:.6g}")
    return lines


_ROUNDING = 1e-12
"""Below it an error says nothing but how sums were rounded."""


def _short(value: float) -> str:
    return f"{value:.1e}" if value >= _ROUNDING else "below 1e-12"
