"""The numbers that formulas are evaluated in: 50 digits, floats, and floats with float32's rounding."""

from __future__ import annotations

from functools import lru_cache
from random import Random
from typing import Any

import mpmath

__all__ = ["DIGITS", "floats", "multiprecision", "rounded"]

DIGITS = 50


@lru_cache(maxsize=1)
def multiprecision() -> Any:
    """Return an mpmath context of its own with 50 digits; mpmath's global one stays as it is."""
    context = mpmath.ctx_mp.MPContext()
    context.dps = DIGITS
    return context


@lru_cache(maxsize=1)
def floats() -> Any:
    """Return the context of Python floats."""
    context = mpmath.ctx_fp.FPContext()
    context.nint = round
    return context


def rounded(x: float, noise: Random) -> float:
    """Return the number moved by half a unit in the last place of float32, up or down at random; 0 and 1 stay."""
    return x if x in (0.0, 1.0) else x * (1 + noise.choice((-1, 1)) * 2.0**-24)
