"""Which expression of sizes and constants a number is: 0.3333, 0.25, 0.2 at N = 3, 4, 5 is 1/N."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
from sympy import Integer

from derive.algebra.nodes import BATCH_SIZE, Kind
from derive.diagnosis.dense import Values
from derive.diagnosis.experiment import Experiment
from derive.language.layer import Layer

__all__ = ["recognized"]

_NUMBERS: tuple[tuple[str, float], ...] = (
    ("1", 1.0), ("2", 2.0), ("1/2", 0.5), ("3", 3.0), ("1/3", 1 / 3), ("4", 4.0), ("1/4", 0.25), ("3/2", 1.5),
    ("2/3", 2 / 3), ("sqrt(2)", math.sqrt(2)), ("1/sqrt(2)", math.sqrt(0.5)), ("6", 6.0), ("1/6", 1 / 6),
    ("8", 8.0), ("1/8", 0.125), ("10", 10.0), ("1/10", 0.1), ("100", 100.0), ("1/100", 0.01),
)  # fmt: skip


def recognized(values: Sequence[float], experiments: Sequence[Experiment], tolerance: float) -> str | None:
    """Return the simplest expression that has these values at these experiments, or None.

    Args:
        values: one an experiment.
        experiments: with sizes that differ.
        tolerance: the relative error that a value may have.
    """
    found = np.asarray(values)
    for text, expected in _candidates(_bindings(experiments)):
        if np.all(np.abs(found - expected) <= tolerance * np.abs(expected)):
            return text
    return None


def _bindings(experiments: Sequence[Experiment]) -> tuple[tuple[str, tuple[float, ...]], ...]:
    """Return every size and numerical hyper-parameter with its values."""
    layer = experiments[0].derived.layer
    found: dict[str, tuple[float, ...]] = {}
    for name in _sizes(layer):
        found[name] = tuple(float(e.instance.sizes[name]) for e in experiments)
    if experiments[0].batched:
        found["batch"] = tuple(float(math.prod(e.instance.batch)) for e in experiments)
    literal = {int(a) for p in layer.parameters for a in p.axes if isinstance(a, Integer)}
    found |= {str(n): (float(n),) * len(experiments) for n in sorted(literal) if n > 1}
    for hyper in layer.hypers:
        if hyper.kind is not Kind.BOOL:
            found[hyper.name] = tuple(float(e.instance.hypers[hyper.name]) for e in experiments)
    return tuple((name, values) for name, values in found.items() if all(values))


def _sizes(layer: Layer) -> list[str]:
    return [s.name for s in layer.sizes if s != BATCH_SIZE] + [d.size.name for d in layer.derived]


@lru_cache(maxsize=64)
def _candidates(bindings: tuple[tuple[str, tuple[float, ...]], ...]) -> tuple[tuple[str, Values], ...]:
    """Return expressions and their values, simplest first."""
    found: list[tuple[str, Values]] = []

    def note(text: str, value: Values) -> None:
        found.extend([(text, value), (f"-{text}", -value)])

    monomials = list(_monomials(_arrays(bindings)))
    for text, number in _NUMBERS[:3]:
        note(text, np.asarray(number))
    for text, value in monomials:
        note(text, value)
    for text, number in _NUMBERS[3:]:
        note(text, np.asarray(number))
    for scale, number in _NUMBERS[1:7]:
        for text, value in monomials:
            note(f"{scale}*{text}" if not text.startswith("1/") else f"{scale}{text[1:]}", number * value)
    return tuple(found)


def _arrays(bindings: tuple[tuple[str, tuple[float, ...]], ...]) -> Mapping[str, Values]:
    """Return the bindings as arrays."""
    return {name: np.asarray(values) for name, values in bindings}


def _monomials(known: Mapping[str, Values]) -> Iterator[tuple[str, Values]]:
    for n, v in known.items():
        yield n, v
        yield f"1/{n}", 1 / v
    for n, v in known.items():
        with np.errstate(all="ignore"):
            if np.all(v > 0):
                yield f"sqrt({n})", np.sqrt(v)
                yield f"1/sqrt({n})", 1 / np.sqrt(v)
            yield f"{n}**2", v**2
            yield f"1/{n}**2", 1 / v**2
            if np.all(v > 1) and not n.isdigit():
                yield f"{n}/({n} - 1)", v / (v - 1)
                yield f"({n} - 1)/{n}", (v - 1) / v
                yield f"({n} - 1)", v - 1
                yield f"1/({n} - 1)", 1 / (v - 1)
            yield f"(1 + {n})", 1 + v
            yield f"1/(1 + {n})", 1 / (1 + v)
            if np.all(v != 1):
                yield f"(1 - {n})", 1 - v
                yield f"1/(1 - {n})", 1 / (1 - v)
    names = list(known)
    for k, a in enumerate(names):
        for b in names[k + 1 :]:
            yield f"{a}*{b}", known[a] * known[b]
            yield f"1/({a}*{b})", 1 / (known[a] * known[b])
            yield f"{a}/{b}", known[a] / known[b]
            yield f"{b}/{a}", known[b] / known[a]
            with np.errstate(all="ignore"):
                yield f"sqrt({a}/{b})", np.sqrt(known[a] / known[b])
                yield f"sqrt({b}/{a})", np.sqrt(known[b] / known[a])
            for c in names:
                if c in (a, b):
                    continue
                yield f"{a}*{b}/{c}", known[a] * known[b] / known[c]
                yield f"{c}/({a}*{b})", known[c] / (known[a] * known[b])
        for b in names[k + 1 :]:
            for c in names[names.index(b) + 1 :]:
                yield f"{a}*{b}*{c}", known[a] * known[b] * known[c]
                yield f"1/({a}*{b}*{c})", 1 / (known[a] * known[b] * known[c])
