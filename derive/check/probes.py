"""Where derivatives are compared: single elements, and random directions.

A probe is a direction ``v`` in the space of one parameter. A gradient ``g``
claims that ``⟨dy, y⟩`` changes by ``Σ g·v`` along it; differences of ``⟨dy,
y⟩`` say what it does. A direction with random components meets every element
of a gradient at once, so no wrong element hides; single elements say where.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from derive.check.instance import Array, Instance, Key
from derive.check.samples import Sample

__all__ = ["Probe", "along", "choose_probes", "pairing", "place"]

_ALL = 64  # every element is tried where a layer has no more than this


@dataclass(frozen=True, slots=True)
class Probe:
    """A direction in the space of one parameter.

    Attributes:
        parameter: its name.
        direction: the components that are not 0.
        key: the position, where it is a single element.
    """

    parameter: str
    direction: Mapping[Key, float]
    key: Key | None = None

    @property
    def where(self) -> str:
        """``dx[1, 2]`` or, for a direction, words."""
        if self.key is None:
            return f"d{self.parameter} along a random direction"
        return place(f"d{self.parameter}", self.key)

    def moved(self, array: Array, step: Any) -> dict[Key, Any]:
        """Return the parameter's array, moved by ``step`` along the direction."""
        return {**array, **{key: array[key] + step * v for key, v in self.direction.items()}}


def place(name: str, key: Key) -> str:
    """Return ``name[i, j]``; ``name`` alone for a scalar."""
    position = Instance.position(key)
    return f"{name}[{', '.join(map(str, position))}]" if position else name


def choose_probes(sample: Sample, parameters: Sequence[str], seed: int, most: int = _ALL) -> list[Probe]:
    """Return a random direction of each parameter, and elements: all where there are at most ``most``.

    Otherwise ``most`` random elements are shared out evenly among the parameters.
    """
    rng = Random(f"probes {seed}")
    probes = []
    total = sum(len(sample.inputs[name]) for name in parameters)
    share = max(1, most // max(1, len(parameters)))
    for name in parameters:
        keys = list(sample.inputs[name])
        chosen = keys if total <= most else sorted(rng.sample(keys, min(share, len(keys))))
        probes += [Probe(name, {key: 1.0}, key) for key in chosen]
        if len(keys) > 1:
            probes.append(Probe(name, {key: rng.gauss(0.0, 1.0) for key in keys}))
    return probes


def pairing(cotangents: Mapping[str, Array], arrays: Mapping[str, Array], outputs: Sequence[str], context: Any) -> Any:
    """Return ``⟨dy, y⟩``, summed over the outputs."""
    return context.fsum(
        [dy * arrays[name][key] for name in outputs for key, dy in cotangents[f"d{name}"].items() if dy]
    )


def along(gradient: Array, probe: Probe, context: Any) -> Any:
    """Return the derivative along the probe's direction that a gradient claims."""
    return context.fsum([gradient[key] * v for key, v in probe.direction.items()])
