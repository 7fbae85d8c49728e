"""How fast a generated LSTM is: its backward against NumPy written by hand, and against PyTorch.

    python benchmarks/recurrence.py

64 steps, a batch of 32, float32; forward values are saved. The hand-written
code is the best of two styles: everything elementwise in the loop, step by
step while it is in the cache, or the local derivatives of all steps at once
before it. Both work on all gates at once and in place. The runs are
interleaved in random order, so that what else the machine does meets all of them; the figures
are medians, in milliseconds, and ratios to the best by hand.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from derive.language import parse
from derive.pipeline import build_module

RUNS = 41
STEPS, BATCH, INPUT = 64, 32, 64
HIDDEN = (128, 512)

LSTM = """
def lstm(x: Real[T, N, I], h0: Real[N, H], c0: Real[N, H], wx: Real[I, 4, H], wh: Real[H, 4, H], b: Real[4, H]):
    h[-1, n, j] = h0[n, j]
    c[-1, n, j] = c0[n, j]
    a[t, n, g, j] = sum[i](x[t, n, i]*wx[i, g, j]) + sum[k](h[t-1, n, k]*wh[k, g, j]) + b[g, j]
    i[t, n, j] = sigmoid(a[t, n, 0, j])
    f[t, n, j] = sigmoid(a[t, n, 1, j])
    g[t, n, j] = tanh(a[t, n, 2, j])
    o[t, n, j] = sigmoid(a[t, n, 3, j])
    c[t, n, j] = f[t, n, j]*c[t-1, n, j] + i[t, n, j]*g[t, n, j]
    h[t, n, j] = o[t, n, j]*tanh(c[t, n, j])
    return h
"""

Arrays = tuple[np.ndarray, ...]


def forward(x: np.ndarray, h0: np.ndarray, c0: np.ndarray, wx: np.ndarray, wh: np.ndarray, b: np.ndarray) -> Arrays:
    """Return what the hand-written backward needs: x, wx, wh [.., 4H], h and c with their starts, gates, tanh(c)."""
    steps, batch, size = x.shape
    hidden = h0.shape[1]
    wx, wh = wx.reshape(size, -1), wh.reshape(hidden, -1)
    pre = (x.reshape(-1, size) @ wx + b.reshape(-1)).reshape(steps, batch, 4, hidden)
    h = np.empty((steps + 1, batch, hidden), x.dtype)
    c = np.empty_like(h)
    gates = np.empty_like(pre)
    tanh_c = np.empty_like(h[1:])
    h[0], c[0] = h0, c0
    for t in range(steps):
        z = (h[t] @ wh).reshape(batch, 4, hidden)
        z += pre[t]
        gate = gates[t]
        np.tanh(z[:, 2], out=gate[:, 2])
        for k in (0, 1, 3):
            gate[:, k] = 1 / (1 + np.exp(-z[:, k]))
        np.multiply(gate[:, 1], c[t], out=c[t + 1])
        c[t + 1] += gate[:, 0] * gate[:, 2]
        np.tanh(c[t + 1], out=tanh_c[t])
        np.multiply(gate[:, 3], tanh_c[t], out=h[t + 1])
    return x, wx, wh, h, c, gates, tanh_c


def backward_stepwise(dh: np.ndarray, cache: Arrays) -> Arrays:
    """Return the gradients; the local derivatives are computed in the loop."""
    x, wx, wh, h, c, gates, tanh_c = cache
    da = np.empty_like(gates)
    dh_next, dc_next = np.zeros_like(h[0]), np.zeros_like(h[0])
    flat = da.reshape(len(da), dh.shape[1], -1)
    transposed = wh.T
    for t in range(len(x) - 1, -1, -1):
        i, f, g, o = (gates[t, :, k] for k in range(4))
        total = dh[t] + dh_next
        s = tanh_c[t]
        dc = total * o
        dc *= 1 - s * s
        dc += dc_next
        d = da[t]
        np.multiply(dc * g, i * (1 - i), out=d[:, 0])
        np.multiply(dc * c[t], f * (1 - f), out=d[:, 1])
        np.multiply(dc * i, 1 - g * g, out=d[:, 2])
        np.multiply(total * s, o * (1 - o), out=d[:, 3])
        dh_next = flat[t] @ transposed
        dc_next = dc * f
    return _weights(x, wx, wh, h, da, dh_next, dc_next)


def backward_ahead(dh: np.ndarray, cache: Arrays) -> Arrays:
    """Return the gradients; the local derivatives of all steps are computed before the loop."""
    x, wx, wh, h, c, gates, tanh_c = cache
    i, f, g, o = (gates[:, :, k] for k in range(4))
    local = 1 - gates
    local[:, :, 2] += gates[:, :, 2] * local[:, :, 2]  # (1 - g)(1 + g)
    local[:, :, 0] *= i * g
    local[:, :, 1] *= f * c[:-1]
    local[:, :, 2] *= i
    local[:, :, 3] *= o * tanh_c
    through = o * (1 - tanh_c * tanh_c)
    da = np.empty_like(gates)
    dh_next, dc_next = np.zeros_like(h[0]), np.zeros_like(h[0])
    flat = da.reshape(len(da), dh.shape[1], -1)
    transposed = wh.T
    for t in range(len(x) - 1, -1, -1):
        total = dh[t] + dh_next
        dc = total * through[t]
        dc += dc_next
        np.multiply(local[t, :, :3], dc[:, None], out=da[t, :, :3])
        np.multiply(local[t, :, 3], total, out=da[t, :, 3])
        dh_next = flat[t] @ transposed
        dc_next = dc * f[t]
    return _weights(x, wx, wh, h, da, dh_next, dc_next)


def _weights(
    x: np.ndarray, wx: np.ndarray, wh: np.ndarray, h: np.ndarray, da: np.ndarray, dh0: np.ndarray, dc0: np.ndarray
) -> Arrays:
    rows = da.reshape(-1, wx.shape[1])
    dx = (rows @ wx.T).reshape(x.shape)
    dwx = x.reshape(len(rows), -1).T @ rows
    dwh = h[:-1].reshape(len(rows), -1).T @ rows
    hidden = h.shape[-1]
    db = np.ones(len(rows), rows.dtype) @ rows
    return dx, dh0, dc0, dwx.reshape(-1, 4, hidden), dwh.reshape(-1, 4, hidden), db.reshape(4, hidden)


def generated() -> ModuleType:
    """Return the generated module."""
    module = ModuleType("lstm")
    exec(compile(build_module(parse(LSTM)), "lstm.py", "exec"), module.__dict__)
    return module


def by_torch(arrays: Arrays, dh: np.ndarray) -> Callable[[], float] | None:
    """Return a function that runs PyTorch's LSTM and gives the seconds of its backward; None without PyTorch."""
    try:
        import torch
    except ImportError:
        return None
    x, h0, c0 = (torch.from_numpy(a) for a in arrays[:3])
    x.requires_grad_()
    h0.requires_grad_()
    c0.requires_grad_()
    lstm = torch.nn.LSTM(x.shape[-1], h0.shape[-1])
    cotangent = torch.from_numpy(dh)

    def run() -> float:
        out, _ = lstm(x, (h0[None], c0[None]))
        start = time.perf_counter()
        out.backward(cotangent)
        return time.perf_counter() - start

    return run


def timed(run: Callable[[], Any]) -> Callable[[], float]:
    """Return a function that gives the seconds of a call."""

    def seconds() -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    return seconds


def compared(module: ModuleType, hidden: int) -> dict[str, float]:
    """Return the median milliseconds of every way."""
    random = np.random.default_rng(0)

    def array(*shape: int) -> np.ndarray:
        return (random.standard_normal(shape) / 8).astype(np.float32)

    arrays = (array(STEPS, BATCH, INPUT), array(BATCH, hidden), array(BATCH, hidden), array(INPUT, 4, hidden),
              array(hidden, 4, hidden), array(4, hidden))  # fmt: skip
    dh = array(STEPS, BATCH, hidden)
    cache, saved = module.forward(*arrays)[1], forward(*arrays)
    expected = module.backward(dh, cache)
    for by_hand in (backward_stepwise, backward_ahead):
        for a, b in zip(expected, by_hand(dh, saved), strict=True):
            assert np.allclose(a, b, rtol=1e-3, atol=1e-3 * np.abs(b).max()), by_hand.__name__
    ways = {
        "generated": timed(lambda: module.backward(dh, cache)),
        "by hand, step by step": timed(lambda: backward_stepwise(dh, saved)),
        "by hand, ahead": timed(lambda: backward_ahead(dh, saved)),
    }
    torch = by_torch(arrays, dh)
    if torch is not None:
        ways["PyTorch"] = torch
    times: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for run in range(RUNS + 2):
        random.shuffle(names)
        for name in names:
            time.sleep(0.02)  # the threads of a library wait busily for a while after a call
            seconds = ways[name]()
            if run >= 2:
                times[name].append(seconds * 1e3)
    return {name: statistics.median(t) for name, t in times.items()}


def main() -> None:
    """Print the table."""
    module = generated()
    for hidden in HIDDEN:
        times = compared(module, hidden)
        best = min(t for name, t in times.items() if name.startswith("by hand"))
        print(f"LSTM backward, {STEPS} steps, batch {BATCH}, input {INPUT}, hidden {hidden}, float32")
        for name, t in times.items():
            print(f"  {name:24}{t:9.2f} ms  {t / best:6.2f}")


if __name__ == "__main__":
    main()
