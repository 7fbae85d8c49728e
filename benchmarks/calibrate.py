"""Measure the constants of the cost model and write them to ``derive/tune/calibration.py``.

    python benchmarks/calibrate.py             # on a quiet machine
    python benchmarks/calibrate.py --print     # only show them

One thread, single precision. Each figure is the fastest eighth of interleaved
repetitions, so that other load on the machine hardly shows, and is rounded to
two digits, so that a small difference changes nothing. Generated code depends on
these constants alone: nothing is measured while code is generated.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
from scipy import special

TARGET = Path(__file__).resolve().parent.parent / "derive" / "tune" / "calibration.py"
LARGE, CACHED, SMALL = 8 << 20, 64 << 10, 16
"""Elements of an array that is larger than any cache, one that stays in it, and one that costs nothing but the call."""

FUNCTIONS: Mapping[str, Callable[..., object]] = {
    name: getattr(np, name)
    for name in ("exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tan", "tanh", "sinh", "cosh", "arctan", "power")
} | {name: getattr(special, name) for name in ("erf", "erfc", "expit", "log_expit", "gammaln", "digamma", "xlogy")}


def fastest(functions: Mapping[str, Callable[[], object]], repetitions: int = 24) -> dict[str, float]:
    """Return the seconds that each takes: the fastest eighth of repetitions in turn."""
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repetitions):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            taken[name].append(time.perf_counter() - start)
    return {name: sorted(times)[len(times) // 8] for name, times in taken.items()}


def measured() -> dict[str, object]:
    """Return the constants by name."""
    rng = np.random.default_rng(0)
    large = [rng.random(LARGE, dtype=np.float32) for _ in range(3)]
    cached = [rng.random(CACHED, dtype=np.float32) for _ in range(3)]
    small = [rng.random(SMALL, dtype=np.float32) for _ in range(3)]
    square = [rng.random((768, 768), dtype=np.float32) for _ in range(3)]

    def repeated(function: Callable[..., object], arrays: list[np.ndarray], times: int) -> Callable[[], object]:
        def run() -> None:
            for _ in range(times):
                function(arrays[0], arrays[1], out=arrays[2])

        return run

    basic = fastest(
        {
            "small": repeated(np.multiply, small, 1000),
            "cached": repeated(np.multiply, cached, 50),
            "large": repeated(np.multiply, large, 1),
            "fresh": lambda: large[0] * large[1],
            "product": lambda: np.matmul(square[0], square[1], out=square[2]),
        }
    )
    pairs = {"power", "xlogy"}
    functions = fastest(
        {
            name: (lambda f=f, n=name: f(*(cached[:2] if n in pairs else cached[:1]), out=cached[2]))  # type: ignore[misc]
            for name, f in FUNCTIONS.items()
        }
    )
    multiplication = basic["cached"] / 50
    relative = {name: max(1.0, _rounded(seconds / multiplication)) for name, seconds in sorted(functions.items())}
    return {
        "CALL": _rounded(basic["small"] / 1000),
        "MEMORY_BYTE": _rounded(basic["large"] / (12 * LARGE)),
        "CACHED_BYTE": _rounded(multiplication / (12 * CACHED)),
        "FAULT_BYTE": _rounded(max(basic["fresh"] - basic["large"], 0.0) / (4 * LARGE)),
        "MULTIPLY_ADD": _rounded(basic["product"] / 768**3),
        "FUNCTIONS": relative,
    }


def _rounded(value: float) -> float:
    return float(f"{value:.1e}")


def written(constants: Mapping[str, object]) -> str:
    """Return the module's text with other numbers."""
    text = TARGET.read_text(encoding="utf-8")
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        name = line.partition(" = ")[0]
        if name in constants:
            value = constants[name]
            if isinstance(value, dict):
                lines += ["FUNCTIONS = {", *(f'    "{key}": {number},' for key, number in value.items()), "}"]
                inside = True
            else:
                lines.append(f"{name} = {value}")
        elif inside:
            inside = line != "}"
        else:
            lines.append(line)
    machine = f"Times are of one thread in single precision, NumPy {np.__version__}, on {_processor()}."
    lines = [machine if line.startswith("Times are of") else line for line in lines]
    return "\n".join(lines) + "\n"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Measure the constants of the cost model.")
    parser.add_argument("--print", action="store_true", help="only show them")
    constants = measured()
    if parser.parse_args().print:
        for name, value in constants.items():
            print(name, value)
        return 0
    TARGET.write_text(written(constants), encoding="utf-8")
    print(f"{TARGET}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
