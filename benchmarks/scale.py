"""How time and memory grow with the number of rows, and derivation time with the depth of a network.

    python benchmarks/scale.py                     # tables on the terminal
    python benchmarks/scale.py --write SCALE.md    # and as Markdown, with the pictures beside it

Rows go from 32 to a million (as far as the machine's memory goes), 64 columns,
float32, one thread, for the staged form, the generated NumPy and the generated
C. Memory is what one backward pass holds at its peak beyond what it began with,
less its results, as the system counts resident pages; it is measured in a
process of its own. Growth is the exponent of a power fitted to the larger half
of the sizes: 1 is in proportion to the size, 0 is constant.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from derive.bench.threads import use_threads

use_threads(1)  # before NumPy is loaded

import numpy as np

from benchmarks.derivation import median_ms, network
from derive.bench.inputs import cotangents, inputs, instance_at, parse_sizes
from derive.bench.staged import staged_module
from derive.bench.timing import interleaved
from derive.check.module import GeneratedModule
from derive.errors import DeriveError
from derive.language import load
from derive.pipeline import build_compiled, build_module, derive_program

ROWS = (32, 128, 512, 2048, 8192, 32768, 131072, 524288, 1048576)
COLUMNS = 64
LAYERS = {
    "batchnorm": "N={rows},D=64",
    "layernorm": "...={rows},D=64",
    "softmax": "...={rows},C=64",
    "cross_entropy": "N={rows},C=64",
    "gelu": "...={rows}x64",
    "linear": "...={rows},I=64,O=64",
}
DEPTHS = (1, 2, 5, 10, 20, 50, 100, 200)
MEMORY_FROM = 32768
"""Rows from which memory is measured: below, a page more or less is all there is to see."""
ARRAYS = 14
"""Arrays of the size of the input that a case may need in all: those of the staged form, and their copies."""

Module = str | Mapping[str, str]


def modules(name: str) -> dict[str, Module]:
    """Return the modules of a layer by way; without a C compiler there is none in C."""
    layer = load(name)
    fast = build_module(layer, purpose="speed")
    found: dict[str, Module] = {"staged NumPy": staged_module(layer), "derive NumPy": fast}
    try:
        files = build_compiled(layer)
        GeneratedModule(layer, files).names["forward"]
        found["derive C"] = files
    except DeriveError as error:
        print(f"derive C: {error}", file=sys.stderr)
    return found


def prepared(name: str, module: Module, rows: int) -> tuple[Callable[[], Any], int]:
    """Return a backward pass at so many rows, and the bytes of its results."""
    layer = load(name)
    instance = instance_at(layer, parse_sizes(LAYERS[name].format(rows=rows)))
    arrays, given = inputs(layer, instance, "float32"), cotangents(layer, instance, "float32")
    names = GeneratedModule(layer, module).names
    _, cache = names["forward"](*arrays.values(), **instance.hypers)
    backward = names["backward"]
    run = partial(backward, *given.values(), cache)
    return run, sum(g.nbytes for g in run())


def fits(rows: int) -> bool:
    """Return whether so many rows fit into the memory that is free."""
    return rows * COLUMNS * 4 * ARRAYS < 0.6 * free_memory()


def free_memory() -> float:
    """Return the free bytes of the machine; a gigabyte where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable"):
                return float(line.split()[1]) * 1024
    except OSError:
        pass
    return 1e9


Points = dict[str, dict[str, list[tuple[float, float]]]]
"""By layer and way: pairs of rows and a figure."""


def times(rows: Sequence[int], budget: float) -> Points:
    """Return milliseconds of a call."""
    found: Points = {}
    for name in LAYERS:
        made = modules(name)
        found[name] = {way: [] for way in made}
        for count in rows:
            ways = {way: prepared(name, module, count)[0] for way, module in made.items()}
            for way, t in interleaved(ways, 9, budget).items():
                found[name][way].append((count, t.median * 1e3))
        last = ", ".join(f"{way} {points[-1][1]:.4g} ms" for way, points in found[name].items())
        print(f"{name} at {rows[-1]} rows: {last}", file=sys.stderr, flush=True)
    return found


def resident_peak(run: Callable[[], Any]) -> int | None:
    """Return the bytes of resident memory that a call adds at its peak; None where the system does not say."""
    status = Path("/proc/self/status")
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak so far is forgotten
        before = _kilobytes(status, "VmRSS")
        kept = run()
        peak = _kilobytes(status, "VmHWM")
        del kept
    except (OSError, KeyError):
        return None
    return (peak - before) * 1024


def _kilobytes(status: Path, key: str) -> int:
    for line in status.read_text(encoding="ascii").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1])
    raise KeyError(key)


def memory(rows: Sequence[int]) -> Points:
    """Return megabytes beyond the results, measured in another process, which gives freed arrays back at once."""
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, __file__, "--memory", ",".join(map(str, rows))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: Points = {
        name: {way: [(int(n), float(mb)) for n, mb in points] for way, points in ways.items()}
        for name, ways in json.loads(done.stdout).items()
    }
    return found


def measure_memory(rows: Sequence[int]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Return megabytes beyond the results, and those of the results themselves, in this process."""
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for name in LAYERS:
        found[name] = {"results": []}
        for way, module in modules(name).items():
            found[name][way] = []
            for count in rows:
                run, results = prepared(name, module, count)
                peak = resident_peak(run)
                if peak is not None:
                    # A page or two of the interpreter's own come and go: below 10 kB nothing is told apart.
                    found[name][way].append((count, max((peak - results) / 1e6, 0.01)))
                if way == "staged NumPy":
                    found[name]["results"].append((count, results / 1e6))
    return found


def depths(values: Sequence[int]) -> dict[str, list[tuple[float, float]]]:
    """Return milliseconds of deriving, and of all until there is code, by the depth of a network."""
    found: dict[str, list[tuple[float, float]]] = {"derivation": [], "derivation and code": []}
    for depth in values:
        layer = network(depth)
        found["derivation"].append((depth, median_ms(partial(derive_program, layer), 3)))
        found["derivation and code"].append((depth, median_ms(partial(build_module, layer), 3)))
        print(f"{depth} layers: {found['derivation and code'][-1][1]:.0f} ms", file=sys.stderr, flush=True)
    return found


def growth(points: Sequence[tuple[float, float]]) -> float | None:
    """Return the exponent of the power that fits the larger half of the points best."""
    half = [(math.log(x), math.log(y)) for x, y in points[len(points) // 2 :] if y > 0]
    if len(half) < 2:
        return None
    x, y = np.array(half).T
    return float(np.polyfit(x, y, 1)[0])


def rows_table(found: Points, unit: str) -> list[str]:
    """Return the Markdown lines of a table: a row a layer and way, a column a number of rows, and the growth."""
    counts = sorted({int(n) for ways in found.values() for points in ways.values() for n, _ in points})
    lines = [f"| {unit} | " + " | ".join(f"{n:,}".replace(",", " ") for n in counts) + " | growth |"]
    lines.append("| --- |" + " ---: |" * (len(counts) + 1))
    for name, ways in found.items():
        for way, points in ways.items():
            at = {int(n): value for n, value in points}
            cells = [f"{at[n]:.3g}" if n in at else "–" for n in counts]
            power = growth(points)
            lines.append(f"| {name}, {way} | {' | '.join(cells)} | {'–' if power is None else f'{power:.2f}'} |")
    return lines


def main() -> None:
    """Measure, print, and write what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few and small sizes: to see that all works")
    parser.add_argument("--write", type=Path, help="write the tables to this file, and the pictures beside it")
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print(json.dumps(measure_memory([int(n) for n in options.memory.split(",")])))
        return
    rows = [n for n in (ROWS[:-3] if options.quick else ROWS) if fits(n)]
    large = [n for n in rows if n >= MEMORY_FROM]
    depth_values = DEPTHS[:-3] if options.quick else DEPTHS
    spent, held = times(rows, 0.5 if options.quick else 1.5), memory(large)
    deep = depths(depth_values)
    lines = [
        f"Backward pass, {COLUMNS} columns, float32, one thread; milliseconds a call by the number of rows.", "",
        *rows_table(spent, "ms"), "",
        "Megabytes beyond the results at the peak of a call; the results beside them.", "",
        *rows_table(held, "MB"), "",
        "Deriving a chain of linear and tanh layers; milliseconds by its depth.", "",
        *rows_table({"network": deep}, "ms"),
    ]  # fmt: skip
    text = "\n".join(lines) + "\n"
    print(text)
    if options.write is not None:
        from benchmarks.pictures import draw_lines

        options.write.write_text(text, encoding="utf-8")
        folder, what = options.write.parent, f"{COLUMNS} columns, float32, one thread"
        draw_lines(spent, folder / "time.svg", f"Time of a backward pass, {what}", "rows", "milliseconds")
        draw_lines(held, folder / "memory.svg", f"Memory of a backward pass, {what}", "rows", "megabytes")
        panel = {"linear and tanh, one after the other": deep}
        draw_lines(panel, folder / "depth.svg", "Time of a derivation", "layers", "milliseconds")


if __name__ == "__main__":
    main()
