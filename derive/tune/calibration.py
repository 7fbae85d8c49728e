"""Measured constants of the cost model; written by ``benchmarks/calibrate.py``, do not edit.

Times are of one thread in single precision, NumPy 2.4, on an AMD EPYC (Zen 5).
"""

from __future__ import annotations

__all__ = ["CACHE", "CALL", "CACHED_BYTE", "FAULT_BYTE", "FUNCTIONS", "MEMORY_BYTE", "MULTIPLY_ADD"]

CALL = 4.0e-07
"""Seconds that a NumPy call takes however small its arrays are."""

MEMORY_BYTE = 8.0e-11
"""Seconds to read or write a byte of an array larger than the cache."""

CACHED_BYTE = 1.6e-11
"""Seconds to read or write a byte that the cache holds."""

FAULT_BYTE = 1.0e-10
"""Seconds more to write a byte of an array that is new."""

MULTIPLY_ADD = 1.6e-11
"""Seconds of a multiplication and an addition in a large product of matrices."""

CACHE = 1048576
"""Bytes that stay in the cache."""

FUNCTIONS = {
    "exp": 4.0,
}
"""What elementwise functions cost, in multiplications of an element in the cache."""
