"""What the machine can do: how fast it moves bytes and how fast it multiplies.

No backward pass can be faster than reading what it needs and writing its
gradients once, or than its products at the machine's rate; times are given as
ratios to the larger of the two. How fast bytes move depends on how many there
are, as small arrays stay in the cache: it is measured at the number in question.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Machine", "machine"]

STREAM = 8 << 20
"""Elements of each of the three arrays that are streamed: beyond the caches of most processors."""

PRODUCT = 1024
"""Rows and columns of the matrices that are multiplied."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Rates that were measured.

    Attributes:
        name: of the processor, as the system gives it.
        bandwidth: bytes a second, of NumPy adding two large arrays into a third (two are read, one is written).
        flops: additions and multiplications a second, of NumPy's product of two square matrices.
        dtype: of the numbers in both.
    """

    name: str
    bandwidth: float
    flops: float
    dtype: str

    def limit(self, nbytes: int, flops: int) -> float:
        """Return the seconds that moving the bytes or computing the products takes, whichever is longer.

        Bytes move as where NumPy adds two arrays into a third that together have as many.
        """
        return max(_stream(max(nbytes, 12) // 3 // np.dtype(self.dtype).itemsize, self.dtype), flops / self.flops)

    def __str__(self) -> str:
        return f"{self.name}: {self.bandwidth / 1e9:.1f} GB/s, {self.flops / 1e9:.0f} Gflop/s ({self.dtype})"


def _best(run: Callable[[], Any], seconds: float) -> float:
    """Return the shortest of as many runs as fit into the time: what else the machine does only adds to it."""
    run()
    best, begin = float("inf"), time.perf_counter()
    while time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


@lru_cache
def _stream(count: int, dtype: str, seconds: float = 0.15) -> float:
    """Return the seconds in which two arrays of so many elements are added into a third."""
    a = np.ones(max(count, 1), dtype)
    b, out = a.copy(), a.copy()
    repeats = max(1, 100_000 // a.size)

    def run() -> None:
        for _ in range(repeats):
            np.add(a, b, out=out)

    return _best(run, seconds) / repeats


def _name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@lru_cache
def machine(dtype: str = "float32", seconds: float = 0.4) -> Machine:
    """Measure the machine, on as many threads as NumPy uses for it.

    Args:
        dtype: ``float32`` or ``float64``.
        seconds: how long each of the two is measured; the best run counts.
    """
    stream = _stream(STREAM, dtype, seconds)
    x = np.ones((PRODUCT, PRODUCT), dtype)
    y = np.empty_like(x)
    product = _best(lambda: np.matmul(x, x, out=y), seconds)
    return Machine(_name(), 3 * STREAM * x.itemsize / stream, 2 * PRODUCT**3 / product, dtype)
