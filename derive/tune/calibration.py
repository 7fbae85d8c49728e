"""Measured constants of the cost model; written by ``benchmarks/calibrate.py``, do not edit.

Times are of one thread in single precision, NumPy 2.4.6, on AMD EPYC.
"""

from __future__ import annotations

__all__ = ["CACHE", "CALL", "CACHED_BYTE", "FAULT_BYTE", "FUNCTIONS", "MEMORY_BYTE", "MULTIPLY_ADD"]

CALL = 6.6e-07
"""Seconds that a NumPy call takes however small its arrays are."""

MEMORY_BYTE = 3.7e-11
"""Seconds to read or write a byte of an array larger than the cache."""

CACHED_BYTE = 1.6e-11
"""Seconds to read or write a byte that the cache holds."""

FAULT_BYTE = 9.4e-11
"""Seconds more to write a byte of an array that is new."""

MULTIPLY_ADD = 2.9e-11
"""Seconds of a multiplication and an addition in a large product of matrices."""

CACHE = 1048576
"""Bytes that stay in the cache."""

FUNCTIONS = {
    "arctan": 64.0,
    "cos": 9.5,
    "cosh": 55.0,
    "digamma": 58.0,
    "erf": 23.0,
    "erfc": 40.0,
    "exp": 7.8,
    "expit": 30.0,
    "expm1": 56.0,
    "gammaln": 82.0,
    "log": 11.0,
    "log1p": 55.0,
    "log_expit": 89.0,
    "power": 28.0,
    "sin": 9.5,
    "sinh": 80.0,
    "sqrt": 2.7,
    "tan": 72.0,
    "tanh": 8.1,
    "xlogy": 27.0,
}
"""What elementwise functions cost, in multiplications of an element in the cache."""
