"""How fast the machine is, measured by a C kernel that does nothing but what cannot be avoided.

    python benchmarks/limits.py

Bytes: two arrays are read and a third is written (or one and one), of the very
size in question, with plain stores or past the cache, whichever is faster.
Products: chains of multiply-and-add in registers. Without a C compiler both are
NumPy's own (:mod:`derive.bench.machine`).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from derive.bench.machine import machine

__all__ = ["described", "flops_a_second", "limit", "stream_seconds"]

FLAGS = (
    *("-O3", "-march=native", "-fno-math-errno", "-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math"),
    *("-shared", "-fPIC"),
)
"""Not -ffast-math: a library that is linked so has the whole process round denormal numbers to 0."""


@lru_cache
def _kernel() -> ctypes.CDLL | None:
    """Return the compiled kernels, or None without a compiler."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang") or shutil.which("cc")
    if compiler is None:
        return None
    folder = tempfile.mkdtemp()
    library = Path(folder) / "limits.so"
    source = Path(__file__).with_name("limits.c")
    try:
        subprocess.run([compiler, *FLAGS, "-o", str(library), str(source)], check=True, capture_output=True)
        found = ctypes.CDLL(str(library))
    except (OSError, subprocess.CalledProcessError):
        return None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    found.multiply.restype = ctypes.c_double
    return found


def _aligned(count: int) -> np.ndarray:
    """Return an array of float32 half a page after the beginning of one.

    NumPy's own large arrays begin 16 bytes after it, and a store a little after
    a load modulo 4096 bytes makes later loads wait for it.
    """
    raw = np.zeros(4 * count + 8192, np.uint8)
    start = -raw.ctypes.data % 4096 + 2048
    return raw[start : start + 4 * count].view(np.float32)


def _best(run: Callable[[], object], seconds: float) -> float:
    run()
    best, begin = float("inf"), time.perf_counter()
    while time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


@lru_cache
def stream_seconds(read: int, written: int, seconds: float = 0.3) -> float:
    """Return the seconds in which so many bytes are read and written, in proportion to the nearer of the two kernels.

    Args:
        read, written: bytes.
        seconds: how long each of four ways is tried; the shortest run counts.
    """
    library = _kernel()
    if library is None:
        return machine("float32").limit(read + written, 0)
    arrays = 2 if read >= 1.5 * written else 1
    count = max(16, (read + written) // (arrays + 1) // 4 // 16 * 16)
    a, b, out = np.ones(count, np.float32), np.ones(count, np.float32), _aligned(count)
    repeats = max(1, 50_000 // count)
    pointers = [ctypes.c_void_p(x.ctypes.data) for x in (a, b, out)]
    if arrays == 1:
        pointers[1] = ctypes.c_void_p(None)
    size = ctypes.c_long(count)

    def run_of(function: Callable[..., object]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(repeats):
                function(*pointers, size)

        return run

    best = min(_best(run_of(f), seconds) for f in (library.stream, library.stream_past)) / repeats
    return best * (read + written) / (4 * count * (arrays + 1))


@lru_cache
def flops_a_second(seconds: float = 0.5) -> float:
    """Return additions and multiplications a second, on one thread."""
    library = _kernel()
    if library is None:
        return machine("float32").flops
    rounds = 200_000
    size = ctypes.c_long(rounds)
    done = library.multiply(size)
    return float(done / _best(lambda: library.multiply(size), seconds))


def limit(read: int, written: int, flops: int) -> float:
    """Return the seconds that no backward pass can do without, given its bytes and the flops of its products."""
    return max(stream_seconds(read, written), flops / flops_a_second())


def described() -> str:
    """Return the machine and its rates in a line."""
    large = 3 * 24 << 20
    rate = large / stream_seconds(large // 3 * 2, large // 3)
    how = "C kernels" if _kernel() is not None else "NumPy"
    return f"{machine().name}: {rate / 1e9:.1f} GB/s, {flops_a_second() / 1e9:.0f} Gflop/s (one thread, {how})"


if __name__ == "__main__":
    print(described())
