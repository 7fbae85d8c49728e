"""Errors in units in the last place.

``ulp(v)`` is the distance of the floating-point numbers around ``v``: 2**-23
of its binade in float32, 2**-52 in float64, and below the smallest normal
number the smallest one there is. An error of half a unit is what rounding the
exact result costs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import mpmath

__all__ = ["FORMATS", "Format"]


@dataclass(frozen=True, slots=True)
class Format:
    """A floating-point format of NumPy.

    Attributes:
        name: of the dtype.
        digits: of the mantissa, in bits, the hidden one included.
        least: exponent of the smallest normal number, ``2**least``.
        most: the largest finite number.
        precision: decimal digits of a reference: enough for the smallest normal number beside 1.
    """

    name: str
    digits: int
    least: int
    most: float
    precision: int

    @property
    def tiny(self) -> float:
        """The smallest normal number."""
        return math.ldexp(1.0, self.least)

    @property
    def smallest(self) -> float:
        """The smallest positive number."""
        return math.ldexp(1.0, self.least - self.digits + 1)

    @property
    def epsilon(self) -> float:
        """The distance from 1 to the next number."""
        return math.ldexp(1.0, 1 - self.digits)

    def ulp(self, value: Any) -> Any:
        """Return the distance of the numbers around a number of mpmath, as one of mpmath."""
        _, mantissa, exponent, bits = value._mpf_
        binade = exponent + bits - 1 if mantissa else self.least
        return mpmath.ldexp(1, max(binade, self.least) - self.digits + 1)

    def error(self, got: float, exact: Any) -> float:
        """Return ``|got - exact|`` in ulps of ``exact``; inf where ``got`` is no finite number."""
        if not math.isfinite(got):
            return math.inf
        return float(abs(exact - got) / self.ulp(exact))

    def is_normal(self, exact: Any) -> bool:
        """Return whether an exact result, halved too, is in the range of normal numbers."""
        return bool(2 * self.tiny <= abs(exact) <= self.most)

    def overflows(self, exact: Any) -> bool:
        """Return whether an exact result rounds to infinity."""
        half = math.ldexp(1.0, math.frexp(self.most)[1] - self.digits - 1)
        return bool(abs(exact) - self.most >= half)


FORMATS: dict[str, Format] = {
    "float32": Format("float32", 24, -126, float(2.0**128 - 2.0**104), 80),
    "float64": Format("float64", 53, -1022, 1.7976931348623157e308, 350),
}
