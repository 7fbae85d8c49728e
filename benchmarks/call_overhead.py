"""What a call costs beside its computing: modules in C, the NumPy modules and PyTorch, at 32×64 and at 2×2.

    python benchmarks/call_overhead.py [--json FILE]

Forward and backward of each layer are timed in turn, as many calls at a time
as take a third of a millisecond (less than a slice of the scheduler's, so that
a busy machine does no harm to most), single-threaded, in float32; the table
has the median of the rounds in microseconds. At 2×2 there is next to nothing to compute: what is left is the
call. "C alone" is the compiled function called through a prepared list of
pointers, without arrays being made or checked.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from derive.check.module import GeneratedModule
from derive.language import load
from derive.pipeline import build_compiled, build_module

ROUNDS, ROUND = 301, 3e-4
"""How many rounds, and how long one takes, in seconds."""
SIZES = ((32, 64), (2, 2))


def inputs(name: str, n: int, d: int) -> list[Any]:
    """Return arrays for a layer of rows."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, d)).astype("float32")
    if name in ("layernorm", "batchnorm"):
        return [x, x[0].copy(), x[-1].copy()]
    if name == "rmsnorm":
        return [x, x[0].copy()]
    if name == "cross_entropy":
        return [x, np.arange(n) % d]
    return [x]


def torch_calls(name: str, arrays: list[Any]) -> dict[str, Callable[[], Any]]:
    """Return PyTorch's forward without a graph, and its backward through one that stands."""
    try:
        import torch
        from torch.nn import functional as f
    except ImportError:
        return {}
    torch.set_num_threads(1)
    given = [torch.from_numpy(a) for a in arrays]
    real = [t.requires_grad_() for t in given if t.is_floating_point()]
    forward = {
        "layernorm": lambda x, g, b: f.layer_norm(x, x.shape[-1:], g, b),
        "rmsnorm": lambda x, g: f.rms_norm(x, x.shape[-1:], g),
        "batchnorm": lambda x, g, b: f.batch_norm(x, None, None, g, b, training=True),
        "softmax": lambda x: f.softmax(x, -1),
        "gelu": f.gelu,
        "silu": f.silu,
        "cross_entropy": f.cross_entropy,
    }[name]
    y = forward(*given)
    dy = torch.ones_like(y)

    def plain() -> Any:
        with torch.no_grad():
            return forward(*given)

    return {"forward": plain, "backward": lambda: torch.autograd.grad(y, real, dy, retain_graph=True)}


def alone(module: Any, arrays: list[Any], cache: Any) -> dict[str, Callable[[], Any]]:
    """Return the compiled functions with all they need at hand."""
    layer = module._layer
    call = layer._call(cache[-2], cache[-1])
    rng = np.random.default_rng(1)
    result: dict[str, Callable[[], Any]] = {}
    for which in ("forward", "backward"):
        takes = call.takes[which]
        values = dict(zip(layer._inputs, arrays, strict=True)) | dict(zip(layer._saved, cache, strict=False))
        held = [
            values[name] if name in values else rng.random(call.shapes[name]).astype(call.dtypes[name])
            for name in takes.arrays
        ]
        numbers = (ctypes.c_double * 8)(*[1e-5] * 8)
        memory = np.empty(call.rooms[which](call.numbers[which], numbers) + 63, np.uint8)
        pointers = [a.ctypes.data for a in held] + [-(-memory.ctypes.data // 64) * 64]
        table = (ctypes.c_void_p * len(pointers))(*pointers)
        entry, sizes = call.entries[which], call.numbers[which]
        result[which] = lambda entry=entry, sizes=sizes, numbers=numbers, table=table, held=held, memory=memory: entry(
            sizes, numbers, table
        )
    return result


def timed(calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Return the median time of each call in microseconds: in turn, after one round that is not measured."""
    times: dict[str, list[float]] = {key: [] for key in calls}
    counts = {key: max(1, int(ROUND / min(_seconds(call, 5) for _ in range(20)))) for key, call in calls.items()}
    for number in range(ROUNDS + 1):
        for key, call in calls.items():
            seconds = _seconds(call, counts[key])
            if number:
                times[key].append(seconds * 1e6)
    return {key: statistics.median(each) for key, each in times.items()}


def _seconds(call: Callable[[], Any], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def measured(name: str, n: int, d: int) -> dict[str, float]:
    """Return the times of one layer at one size, by ``who which``."""
    made = load(name)
    c = SimpleNamespace(**GeneratedModule(made, build_compiled(made)).names)
    numpy = SimpleNamespace(**GeneratedModule(made, build_module(made)).names)
    arrays = inputs(name, n, d)
    calls: dict[str, Callable[[], Any]] = {}
    for who, module in (("C", c), ("NumPy", numpy)):
        for _ in range(2):
            y, cache = module.forward(*arrays)
            dy = np.ones_like(y)
            out = module.backward(dy, cache)
        calls[f"{who} forward"] = lambda module=module: module.forward(*arrays)
        calls[f"{who} backward"] = lambda module=module, dy=dy, cache=cache: module.backward(dy, cache)
        if who == "C":
            calls["C backward, out"] = lambda dy=dy, cache=cache, out=out: c.backward(dy, cache, out)
            calls |= {f"C alone {which}": call for which, call in alone(c, arrays, cache).items()}
    calls |= {f"PyTorch {which}": call for which, call in torch_calls(name, arrays).items()}
    return timed(calls)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the times to this file, too")
    parser.add_argument("layers", nargs="*")
    options = parser.parse_args()
    names = options.layers or ["softmax", "layernorm", "rmsnorm", "batchnorm", "cross_entropy", "gelu", "silu"]
    found: dict[str, dict[str, float]] = {}
    for n, d in SIZES:
        rows = {name: measured(name, n, d) for name in names}
        columns = list(next(iter(rows.values())))
        print(f"\n{n}×{d}, µs a call" + "".join(f"{c:>18}" for c in columns))
        for name, row in rows.items():
            print(f"{name:<18}" + "".join(f"{row[c]:>18.2f}" for c in columns))
            found[f"{name} {n}×{d}"] = row
    if options.json:
        options.json.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
