"""How long a derivation takes: every catalogue layer, and a network of growing depth.

    python benchmarks/derivation.py

Times are medians of several runs in one process, in milliseconds of processor
time, imports and reading of the layer file aside. SymPy's cache of results is
emptied before each run, so that none is an answer remembered. The figures
depend on the machine, the growth with depth does not.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sympy.core.cache import clear_cache

from derive.language import catalogue, load, parse
from derive.language.layer import Layer
from derive.pipeline import derive_program

RUNS = 5
DEPTHS = (1, 2, 5, 10, 25, 50, 100)


def median_ms(run: Callable[[], object], runs: int = RUNS) -> float:
    """Return the median processor time of a call in milliseconds, after one call that warms up."""
    run()
    times = []
    for _ in range(runs):
        clear_cache()
        start = time.process_time()
        run()
        times.append((time.process_time() - start) * 1e3)
    return statistics.median(times)


def network(depth: int) -> Layer:
    """Return a chain of linear and tanh layers, called by name."""
    weights = ", ".join(f"w{k}: Real[H, H], b{k}: Real[H]" for k in range(depth))
    lines = [f"def network(x: Real[N, H], {weights}):"]
    previous = "x"
    for k in range(depth):
        lines += [f"    a{k} = linear({previous}, w{k}, b{k})", f"    h{k} = tanh(a{k})"]
        previous = f"h{k}"
    lines.append(f"    return {previous}")
    return parse("\n".join(lines) + "\n")


def main() -> None:
    """Print both tables."""
    times = {}
    for name in catalogue():
        layer = load(name)
        times[name] = median_ms(partial(derive_program, layer))
    slowest = sorted(times, key=lambda name: -times[name])[:8]
    print(f"{len(times)} catalogue layers: median {statistics.median(times.values()):.1f} ms; slowest:")
    for name in slowest:
        print(f"  {name:<24}{times[name]:8.1f} ms")
    print("linear + tanh, by depth:")
    for depth in DEPTHS:
        layer = network(depth)
        total = median_ms(partial(derive_program, layer))
        print(f"  {depth:>4} layers{total:10.1f} ms{total / depth:8.2f} ms a layer")


if __name__ == "__main__":
    main()
