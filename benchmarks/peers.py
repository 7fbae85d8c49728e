"""Generated NumPy and C beside NumPy by hand, autograd, PyTorch and JAX, case by case.

    python benchmarks/peers.py                      # a table on the terminal
    python benchmarks/peers.py --write RESULTS.md   # and as Markdown, with the pictures beside it
    python benchmarks/peers.py --only softmax,gelu --quick

The backward pass alone is timed, forward values saved, in float32 on one
thread, all ways interleaved; figures are medians. Before that every way's
gradients are compared with those in double precision. Large cases are ratios to
the machine's measured limit (:mod:`benchmarks.limits`), small ones microseconds.
By hand, the fastest of several ways counts (:mod:`benchmarks.expert`), and so it
does for PyTorch where it has more than one (:mod:`benchmarks.native`).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from derive.bench.threads import use_threads

use_threads(1)  # before NumPy is loaded

import numpy as np

from benchmarks import limits, native
from benchmarks.cases import CASES, SMALL, Case
from benchmarks.expert import ways as expert_ways
from derive.bench.inputs import cotangents, inputs, instance_at, parse_sizes
from derive.bench.measure import Case as Measured
from derive.bench.measure import Row
from derive.bench.peers import PEERS, Prepared, versions
from derive.bench.staged import staged_module
from derive.bench.timing import interleaved
from derive.bench.work import compulsory_bytes, product_flops
from derive.check.module import GeneratedModule
from derive.errors import DeriveError
from derive.language import load
from derive.pipeline import build_compiled, build_module, derive_program

READABLE = "derive, for reading"
WAYS = (
    "staged NumPy", "expert NumPy", "derive NumPy", READABLE, "derive C", "autograd", "PyTorch", "torch.compile",
    "JAX jit",
)  # fmt: skip
"""The columns; ``derive NumPy`` is generated with ``--for speed``."""
SETTLED = 2e-3
"""How far a gradient may be from that in double precision, as a share of its largest element."""


class Unequal(Exception):
    """Gradients that are not those of the layer."""


def compare(found: Sequence[Any], expected: Sequence[np.ndarray], who: str) -> float:
    """Return the largest deviation, as a share of each gradient's largest element.

    Raises:
        Unequal: it is beyond what float32 explains.
    """
    worst = 0.0
    for got, right in zip(found, expected, strict=True):
        got = np.asarray(got)
        if got.shape != right.shape:
            raise Unequal(f"{who}: a gradient has shape {got.shape}, not {right.shape}")
        error = float(np.abs(got - right).max()) / (float(np.abs(right).max()) or 1.0)
        worst = max(worst, error)
        if not error <= SETTLED:
            raise Unequal(f"{who}: a gradient is off by {error:.1e} of its largest element")
    return worst


def measure(case: Case, runs: int, budget: float) -> Measured:
    """Return the times of every way that there is."""
    layer = load(case.layer)
    instance = instance_at(layer, parse_sizes(case.sizes))
    arrays, given = inputs(layer, instance, "float32"), cotangents(layer, instance, "float32")
    program, text = derive_program(layer), build_module(layer)
    wanted = [name for name, _ in program.gradients]
    ways: dict[str, Callable[[], Any]] = {}
    why: dict[str, str] = {}
    errors: dict[str, float] = {}

    def generated(module: str | Mapping[str, str], values: Mapping[str, Any], dys: Mapping[str, Any]) -> Prepared:
        names = GeneratedModule(layer, module).names
        _, cache = names["forward"](*values.values(), **instance.hypers)
        backward = names["backward"]
        return Prepared(lambda: backward(*dys.values(), cache), list)

    def double(a: np.ndarray) -> np.ndarray:
        return a.astype(np.float64) if a.dtype.kind == "f" else a

    exact = generated(text, {k: double(a) for k, a in arrays.items()}, {k: double(a) for k, a in given.items()})
    expected = [np.asarray(g) for g in exact.run()]

    def add(name: str, prepare: Callable[[], Prepared], kind: str) -> None:
        try:
            prepared = prepare()
            errors[name] = compare(prepared.gradients(prepared.run()), expected, name)
            ways[name] = prepared.run
        except DeriveError as error:
            why[kind] = str(error).splitlines()[0]
        except Unequal as error:
            why[kind] = f"unequal: {error}"

    add("staged NumPy", lambda: generated(staged_module(layer), arrays, given), "staged NumPy")
    for way, run in expert_ways(case.layer, arrays, given).items():
        add(f"expert NumPy: {way}", lambda run=run: Prepared(run, list), "expert NumPy")  # type: ignore[misc]
    add("derive NumPy", lambda: generated(build_module(layer, purpose="speed"), arrays, given), "derive NumPy")
    add(READABLE, lambda: generated(text, arrays, given), READABLE)
    add("derive C", lambda: generated(build_compiled(layer), arrays, given), "derive C")
    for peer in PEERS:
        if not peer.installed:
            why[peer.title] = "not installed"
            continue
        if peer.name == "autograd":
            add(peer.title, lambda p=peer: p.prepare(layer, instance, arrays, wanted, given), peer.title)  # type: ignore[misc]
            continue
        forwards = [(native.jax_forwards if peer.name == "jax" else native.torch_forwards)()[case.layer]]
        if peer.package == "torch":
            forwards += [f for name, f in native.torch_ready_made().items() if name == case.layer]
        for k, forward in enumerate(forwards):
            add(
                f"{peer.title}: {k}",
                lambda p=peer, f=forward: p.differentiated(lambda dtype: f, arrays, wanted, given),  # type: ignore[misc]
                peer.title,
            )
    times = interleaved(ways, runs, budget)
    rows = []
    for name in WAYS:
        found = {way: t for way, t in times.items() if way.partition(":")[0] == name}
        if not found:
            rows.append(Row(name, name.startswith("derive"), why=why.get(name, "not measured")))
            continue
        best = min(found, key=lambda way: found[way].median)
        t = found[best]
        rows.append(Row(name, name.startswith("derive"), t.median, t.spread, t.busy, None, errors[best]))
    nbytes, flops = compulsory_bytes(program, arrays, given), product_flops(program, instance)
    written = sum(arrays[name].nbytes for name in wanted)
    sizes: dict[str, int | list[int]] = {"...": list(instance.batch)} if instance.batch else {}
    at_least = limits.limit(nbytes - written, written, flops)
    return Measured(case.title, {**sizes, **instance.sizes}, "float32", nbytes, flops, at_least, tuple(rows))


def seconds(case: Measured, name: str) -> float | None:
    """Return a way's time, or None where it was not timed."""
    row = case.row(name)
    return row.seconds if row is not None else None


def mean_of(cases: Sequence[Measured], name: str, of: str) -> float | None:
    """Return the geometric mean of one way's times relative to another's; None where one of them is missing."""
    logs = []
    for case in cases:
        a, b = seconds(case, name), seconds(case, of)
        if a is None or b is None:
            return None
        logs.append(math.log(a / b))
    return math.exp(sum(logs) / len(logs)) if logs else None


def number(value: float | None) -> str:
    """Return three digits, or a dash."""
    if value is None:
        return "–"
    return f"{value:.2f}" if value < 10 else f"{value:.3g}"


def table(cases: Sequence[Measured], *, small: bool) -> list[str]:
    """Return the lines of a Markdown table: ratios to the limit, or microseconds for small cases."""
    ways = [w for w in WAYS if any(seconds(case, w) is not None for case in cases)]
    unit = "µs" if small else "limit ms"
    lines = [f"| case | {'' if small else unit + ' | '}{' | '.join(ways)} |".replace("|  |", "|")]
    lines.append("| --- |" + " ---: |" * (len(ways) + (not small)))
    for case in cases:
        cells = [case.layer] if small else [case.layer, f"{case.limit * 1e3:.2f}"]
        for way in ways:
            t = seconds(case, way)
            cells.append(number(None if t is None else t * 1e6 if small else t / case.limit))
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def means(cases: Sequence[Measured]) -> list[str]:
    """Return the lines of geometric means: each way's time relative to three of them."""
    ways = [w for w in WAYS if any(seconds(case, w) is not None for case in cases)]
    lines = ["| geometric mean, relative to | " + " | ".join(ways) + " |", "| --- |" + " ---: |" * len(ways)]
    for of in ("expert NumPy", "derive NumPy", "derive C"):
        if of in ways:
            lines.append(f"| {of} | " + " | ".join(number(mean_of(cases, way, of)) for way in ways) + " |")
    return lines


def missing(cases: Sequence[Measured]) -> list[str]:
    """Return what was not timed, and why, each once."""
    found: dict[str, None] = {}
    for case in cases:
        for row in case.rows:
            if row.seconds is None:
                where = "" if "installed" in row.why else f" ({case.layer})"
                found[f"- {row.name}{where}: {row.why}"] = None
    return [*found]


def report(large: Sequence[Measured], small: Sequence[Measured]) -> str:
    """Return everything as Markdown."""
    listed = ", ".join(f"{name} {v}" for name, v in versions([p.name for p in PEERS]).items())
    lines = [
        "Backward pass only, forward values saved, float32, one thread; medians of interleaved runs; gradients are",
        f"compared with those in double precision first. {limits.described()}; {listed}.", "",
    ]  # fmt: skip
    if large:
        lines += ["Large: ratio to the limit (bytes that must move, or products that must be taken).", ""]
        lines += [*table(large, small=False), "", *means(large), ""]
    if small:
        lines += ["Small: microseconds a call.", "", *table(small, small=True), "", *means(small), ""]
    return "\n".join([*lines, *missing([*large, *small])]).rstrip() + "\n"


def main() -> None:
    """Measure, print, and write what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", help="layers, separated by commas (default: all)")
    parser.add_argument("--quick", action="store_true", help="a few runs each: to see that all works")
    parser.add_argument("--write", type=Path, help="write the tables to this file, and the pictures beside it")
    options = parser.parse_args()
    only = options.only.split(",") if options.only else None
    runs, budget = (3, 1.0) if options.quick else (25, 8.0)
    measured: list[list[Measured]] = []
    for cases in (CASES, SMALL):
        measured.append([])
        for case in cases:
            if only is None or case.layer in only:
                found = measure(case, runs, budget if cases is CASES else budget / 4)
                measured[-1].append(found)
                timed = ", ".join(f"{r.name} {r.seconds * 1e3:.4g}" for r in found.rows if r.seconds is not None)
                print(f"{case.title} [ms]: {timed}", file=sys.stderr, flush=True)
    text = report(*measured)
    print(text)
    if options.write is not None:
        options.write.write_text(text, encoding="utf-8")
        from benchmarks.pictures import draw_cases

        draw_cases(measured[0], options.write.with_name("large.svg"), limits.described())
        draw_cases(measured[1], options.write.with_name("small.svg"), limits.described())


if __name__ == "__main__":
    main()
