"""The ways to write a backward as a table: what each costs, and which one is chosen for what.

batchnorm, backward at N = 8192, D = 512

form    forward saves  code          passes  products     bytes  calls      time
closed  as derived     expressions        8         0  269 MB       10   19.9 ms  reading: reads best
closed  as derived     row blocks         5         0  118 MB      352    8.1 ms  speed: takes the least time
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sympy import Expr, Integer

from derive.algebra.nodes import BATCH_SIZE
from derive.errors import DeriveError
from derive.language.layer import Layer
from derive.lower.arrays import Purpose
from derive.tune.choose import Candidate, choose
from derive.tune.cost import nominal

__all__ = ["cost_table", "sizes_of"]

_TITLES = ("form", "forward saves", "code", "passes", "multiply-adds", "bytes", "held", "calls", "time", "chosen for")


def sizes_of(layer: Layer, given: Mapping[str, tuple[int, ...]]) -> dict[Expr, int]:
    """Return the numbers for a layer's sizes by their symbols; several for ``...`` are multiplied.

    Raises:
        DeriveError: the layer has no size of a name.
    """
    known = {("..." if axis == BATCH_SIZE else str(axis)): axis for p in layer.parameters for axis in p.axes}
    known = {name: axis for name, axis in known.items() if not isinstance(axis, Integer)}
    found: dict[Expr, int] = {}
    for name, lengths in given.items():
        if name not in known:
            raise DeriveError(f"--sizes: {layer.name} has no size '{name}'", hint=f"it has {', '.join(known)}")
        number = 1
        for length in lengths:
            number *= length
        found[known[name]] = number
    return found


def cost_table(layer: Layer, ways: Sequence[Candidate], sizes: Mapping[Expr, int]) -> str:
    """Return the table as text, the costs counted at ``sizes`` and the nominal ones of the rest."""
    at = {**nominal(ways[0].arrays), **sizes}
    chosen: dict[int, list[str]] = {}
    for purpose in Purpose:
        best, why = choose(ways, purpose)
        place = next(
            k for k, way in enumerate(ways) if (way.form, way.saving, way.code) == (best.form, best.saving, best.code)
        )
        chosen.setdefault(place, []).append(f"{purpose.value}: {why}")
    rows = [_TITLES]
    for k, way in enumerate(ways):
        cost = way.cost
        rows.append(
            (
                way.form,
                way.saving.value,
                way.code.value,
                f"{cost.passes:.0f}",
                _scaled(cost.products, ""),
                _scaled(cost.memory + cost.cached, "B"),
                _scaled(4 * (cost.saved + cost.extra), "B"),
                f"{cost.calls:.0f}",
                _time(cost.seconds),
                "; ".join(chosen.get(k, ())),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(_TITLES))]
    left = {0, 1, 2, len(_TITLES) - 1}
    lines = [
        "  ".join(
            cell.ljust(w) if i in left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    where = ", ".join(f"{'...' if axis == BATCH_SIZE else axis} = {number}" for axis, number in at.items())
    title = f"{layer.name}: backward at {where or 'these sizes'}, float32, one thread; times are predicted"
    return "\n".join([title, "", *(line.rstrip() for line in lines)])


def _scaled(value: float, unit: str) -> str:
    for prefix, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g} {prefix}{unit}"
    return f"{value:.0f} {unit}".rstrip()


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} us"
