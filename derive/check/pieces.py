"""Where functions are not smooth: their corners and jumps, the edges of their domains, their pieces.

Each table gives, for the arguments of a function, a distance or a number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import sympy

from derive.algebra.functions import (
    AtLeast,
    AtMost,
    Ceil,
    Clip,
    Eq,
    Floor,
    FloorDiv,
    Ge,
    Gt,
    Guard,
    Heaviside,
    Le,
    Lgamma,
    Log1p,
    Lt,
    Maximum,
    Minimum,
    Mod,
    Ne,
    Relu,
    Round,
    Sign,
    StopGradient,
    Where,
    XLogY,
)
from derive.algebra.nodes import Element, Max, Min, Padded

__all__ = ["EDGES", "EXACT", "KINKS", "SIDES", "STRUCTURAL"]

# Distances below this are no accident of random inputs: the two sides are equal by the formula itself
# (``maximum(x[i], x[j])`` at i = j, ``relu`` of a masked zero), up to the rounding of floats.
STRUCTURAL = 1e-12


def _whole(x: float) -> float:
    """Return the distance to the nearest integer."""
    return abs(x - round(x)) if abs(x) < 1e15 else 0.0


# The distance of the arguments from the nearest place where the function has a corner or a jump.
KINKS: dict[type, Callable[..., Any]] = {
    **dict.fromkeys((sympy.Abs, Sign, Relu, Heaviside), abs),
    **dict.fromkeys((Maximum, Minimum, Lt, Le, Gt, Ge, Eq, Ne), lambda a, b: abs(a - b)),
    Clip: lambda x, lo, hi: min(abs(x - lo), abs(x - hi)),
    **dict.fromkeys((Floor, Ceil), _whole),
    Round: lambda x: _whole(x + 0.5),
    **dict.fromkeys((FloorDiv, Mod), lambda a, b: _whole(a / b)),
}

# Which of its pieces a function is on.
SIDES: dict[type, Callable[..., int]] = {
    **dict.fromkeys((sympy.Abs, Sign, Relu, Heaviside), lambda x: x > 0),
    **dict.fromkeys((Maximum, Minimum, Lt, Le, Gt, Ge, Eq, Ne), lambda a, b: a > b),
    Clip: lambda x, lo, hi: (x > lo) + (x > hi),
}

# The distance from the edge of the domain, or from a pole.
EDGES: dict[type, Callable[..., Any]] = {
    sympy.log: abs,
    Log1p: lambda x: abs(1 + x),
    XLogY: lambda x, y: abs(y),
    sympy.tan: lambda x: abs(math.cos(x)),
    **dict.fromkeys((sympy.asin, sympy.acos), lambda x: abs(1 - abs(x))),
    **dict.fromkeys((Lgamma, sympy.digamma), lambda x: x if x > 0 else _whole(x)),
    sympy.polygamma: lambda n, x: x if x > 0 else _whole(x),
}

# What gives one of the numbers it is given, and so rounds nothing.
EXACT: tuple[type, ...] = (
    Element, Padded, Where, Max, Min, Maximum, Minimum, Clip, Relu, sympy.Abs, Sign, Floor, Ceil, Round,
    StopGradient, AtMost, AtLeast, Guard,
)  # fmt: skip
