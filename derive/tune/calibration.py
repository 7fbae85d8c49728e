"""Measured constants of the cost model; written by ``benchmarks/calibrate.py``, do not edit.

Times are of one thread in single precision, NumPy 2.4.6, on AMD EPYC.
"""

from __future__ import annotations

__all__ = ["CACHE", "CALL", "CACHED_BYTE", "FAULT_BYTE", "FUNCTIONS", "MEMORY_BYTE", "MULTIPLY_ADD"]

CALL = 7e-07
"""Seconds that a NumPy call takes however small its arrays are."""

MEMORY_BYTE = 4e-11
"""Seconds to read or write a byte of an array larger than the cache."""

CACHED_BYTE = 1.7e-11
"""Seconds to read or write a byte that the cache holds."""

FAULT_BYTE = 9.6e-11
"""Seconds more to write a byte of an array that is new."""

MULTIPLY_ADD = 2.9e-11
"""Seconds of a multiplication and an addition in a large product of matrices."""

CACHE = 1048576
"""Bytes that stay in the cache."""

FUNCTIONS = {
    "arctan": 58.0,
    "cos": 8.7,
    "cosh": 49.0,
    "digamma": 53.0,
    "erf": 21.0,
    "erfc": 36.0,
    "exp": 7.4,
    "expit": 27.0,
    "expm1": 50.0,
    "gammaln": 74.0,
    "log": 10.0,
    "log1p": 49.0,
    "log_expit": 84.0,
    "power": 25.0,
    "sin": 8.6,
    "sinh": 72.0,
    "sqrt": 2.3,
    "tan": 64.0,
    "tanh": 7.4,
    "xlogy": 26.0,
}
"""What elementwise functions cost, in multiplications of an element in the cache."""
