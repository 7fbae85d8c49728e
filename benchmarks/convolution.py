"""How fast the generated backward pass of a convolution is, beside NumPy by hand and PyTorch.

    python benchmarks/convolution.py

Each row is a case of conv2d in float32, forward values saved. By hand, the two
gradients are written in several ways (which differ in how axes are laid out in
memory, and in what is one product and what a loop over the offsets of the
window); "by hand" is the fastest way for dw and the fastest for dx together,
named in the last column. Runs are interleaved, and the figures are medians; the
ratios are what can be compared between machines. Where other programs run,
threads wait for one another: set ``OPENBLAS_NUM_THREADS=1``, ``OMP_NUM_THREADS=1``.

``--table`` gives the times of every way by hand as well.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from derive.language import parse
from derive.pipeline import build_module

LAYER = """
def conv2d(x: Real[N, C, H, W], w: Real[F, C, R, S], b: Real[F], *, stride: Int = 1, pad: Int = 0):
    P = (H + 2*pad - R) // stride + 1
    Q = (W + 2*pad - S) // stride + 1
    y: Real[N, F, P, Q]
    y[n, f, p, q] = b[f] + sum[c, r, s](padded(x)[n, c, p*stride + r - pad, q*stride + s - pad] * w[f, c, r, s])
    return y
"""


@dataclass(frozen=True)
class Case:
    """A convolution: batch, channels, image, filters, window, padding, stride."""

    N: int
    C: int
    H: int
    W: int
    F: int
    R: int
    S: int
    pad: int
    stride: int = 1

    @property
    def output(self) -> tuple[int, int]:
        """Height and width of the result."""
        return (self.H + 2 * self.pad - self.R) // self.stride + 1, (self.W + 2 * self.pad - self.S) // self.stride + 1

    def __str__(self) -> str:
        stride = f", stride {self.stride}" if self.stride > 1 else ""
        return f"{self.N}x{self.C}x{self.H}x{self.W}, {self.F} of {self.R}x{self.S}, pad {self.pad}{stride}"


CASES = (
    Case(16, 32, 32, 32, 64, 3, 3, 1),
    Case(16, 32, 32, 32, 64, 3, 3, 1, 2),
    Case(16, 32, 32, 32, 64, 1, 1, 0),
    Case(8, 3, 64, 64, 32, 7, 7, 3, 2),
    Case(2, 4, 8, 8, 4, 3, 3, 1),
)

Way = Callable[[], np.ndarray]


class ByHand:
    """Both gradients, each in several ways."""

    def __init__(self, case: Case, x: np.ndarray, w: np.ndarray, dy: np.ndarray) -> None:
        self.case, self.w, self.dy = case, w, dy
        N, C, H, W = x.shape
        pad = case.pad
        self.x_padded = x
        if pad:
            self.x_padded = np.zeros((N, C, H + 2 * pad, W + 2 * pad), x.dtype)
            self.x_padded[:, :, pad:-pad, pad:-pad] = x
        self.inside = (slice(None), slice(None), slice(pad, pad + H), slice(pad, pad + W))

    def windows(self) -> np.ndarray:
        """A view of the windows: [N, C, P, Q, R, S]."""
        case = self.case
        view = sliding_window_view(self.x_padded, (case.R, case.S), axis=(2, 3))
        return view[:, :, :: case.stride, :: case.stride]

    def at(self, array: np.ndarray, r: int, s: int) -> np.ndarray:
        """What the offset (r, s) of all windows covers."""
        (P, Q), stride = self.case.output, self.case.stride
        return array[:, :, r : r + P * stride : stride, s : s + Q * stride : stride]

    def dw_columns(self) -> np.ndarray:
        """One product of all positions, positions last in memory."""
        case = self.case
        columns = self.windows().transpose(1, 4, 5, 0, 2, 3).reshape(case.C * case.R * case.S, -1)
        return (np.swapaxes(self.dy, 0, 1).reshape(case.F, -1) @ columns.T).reshape(self.w.shape)

    def dw_columns_by_sample(self) -> np.ndarray:
        """A product a sample, then a sum."""
        case = self.case
        columns = self.windows().transpose(0, 1, 4, 5, 2, 3).reshape(case.N, case.C * case.R * case.S, -1)
        return (self.dy.reshape(case.N, case.F, -1) @ columns.swapaxes(1, 2)).sum(axis=0).reshape(self.w.shape)

    def dw_tensordot(self) -> np.ndarray:
        """The textbook's line."""
        return np.tensordot(self.dy, self.windows(), axes=([0, 2, 3], [0, 2, 3]))

    def dw_einsum(self) -> np.ndarray:
        """The other textbook's line."""
        return np.einsum("nfpq,ncpqrs->fcrs", self.dy, self.windows(), optimize=True)

    def dw_offsets(self) -> np.ndarray:
        """A product an offset."""
        case = self.case
        dw = np.empty_like(self.w)
        x = np.swapaxes(self.x_padded, 0, 1)
        dy = np.swapaxes(self.dy, 0, 1).reshape(case.F, -1)
        for r in range(case.R):
            for s in range(case.S):
                dw[:, :, r, s] = dy @ self.at(x, r, s).reshape(case.C, -1).T
        return dw

    def dx_columns(self) -> np.ndarray:
        """One stack of products, then an addition an offset."""
        case, (P, Q) = self.case, self.case.output
        dy = self.dy.reshape(case.N, case.F, -1)
        columns = (self.w.reshape(case.F, -1).T @ dy).reshape(case.N, case.C, case.R, case.S, P, Q)
        dx = np.zeros_like(self.x_padded)
        for r in range(case.R):
            for s in range(case.S):
                self.at(dx, r, s)[...] += columns[:, :, r, s]
        return dx[self.inside]

    def dx_columns_by_offset(self) -> np.ndarray:
        """The same, what belongs to an offset side by side in memory."""
        case, (P, Q) = self.case, self.case.output
        w = self.w.transpose(2, 3, 1, 0).reshape(-1, case.F)
        columns = (w @ self.dy.reshape(case.N, case.F, -1)).reshape(case.N, case.R, case.S, case.C, P, Q)
        dx = np.zeros_like(self.x_padded)
        for r in range(case.R):
            for s in range(case.S):
                self.at(dx, r, s)[...] += columns[:, r, s]
        return dx[self.inside]

    def dx_columns_channels_first(self) -> np.ndarray:
        """One product for all samples, then an addition an offset."""
        case, (P, Q) = self.case, self.case.output
        dy = np.swapaxes(self.dy, 0, 1).reshape(case.F, -1)
        columns = (self.w.reshape(case.F, -1).T @ dy).reshape(case.C, case.R, case.S, case.N, P, Q)
        dx = np.zeros_like(np.swapaxes(self.x_padded, 0, 1))
        for r in range(case.R):
            for s in range(case.S):
                self.at(dx, r, s)[...] += columns[:, r, s]
        return np.swapaxes(dx, 0, 1)[self.inside]

    def dx_offsets(self) -> np.ndarray:
        """A stack of products an offset, added up."""
        case, (P, Q) = self.case, self.case.output
        dy = self.dy.reshape(case.N, case.F, -1)
        dx = np.zeros_like(self.x_padded)
        for r in range(case.R):
            for s in range(case.S):
                self.at(dx, r, s)[...] += (self.w[:, :, r, s].T @ dy).reshape(case.N, case.C, P, Q)
        return dx[self.inside]

    def dx_channels_last(self) -> np.ndarray:
        """A product an offset, channels last."""
        case, (P, Q), stride = self.case, self.case.output, self.case.stride
        dy = self.dy.transpose(0, 2, 3, 1).reshape(-1, case.F)
        dx = np.zeros((case.N, *self.x_padded.shape[2:], case.C), dy.dtype)
        for r in range(case.R):
            for s in range(case.S):
                product = (dy @ self.w[:, :, r, s]).reshape(case.N, P, Q, case.C)
                dx[:, r : r + P * stride : stride, s : s + Q * stride : stride] += product
        return dx.transpose(0, 3, 1, 2)[self.inside]

    def dx_correlation(self) -> np.ndarray:
        """The convolution of dy with the turned window, one stack of products; for stride 1."""
        case, (P, Q) = self.case, self.case.output
        R, S, pad = case.R, case.S, case.pad
        dy = np.zeros((case.N, case.F, P + 2 * (R - 1), Q + 2 * (S - 1)), self.dy.dtype)
        dy[:, :, R - 1 : R - 1 + P, S - 1 : S - 1 + Q] = self.dy
        view = sliding_window_view(dy[:, :, pad:, pad:], (case.H, case.W), axis=(2, 3))[:, :, :R, :S]
        turned = self.w[:, :, ::-1, ::-1].transpose(1, 0, 2, 3).reshape(case.C, -1)
        return (turned @ view.reshape(case.N, -1, case.H * case.W)).reshape(case.N, case.C, case.H, case.W)

    def ways(self, gradient: str) -> dict[str, Way]:
        """All ways for one gradient, by name."""
        found = {name: getattr(self, name) for name in dir(self) if name.startswith(gradient)}
        if self.case.stride > 1:
            found.pop("dx_correlation", None)
        return found


def torch_backward(case: Case, x: np.ndarray, w: np.ndarray, b: np.ndarray, dy: np.ndarray) -> Callable[[], Any]:
    """PyTorch's backward pass of a convolution that has been computed."""
    import torch

    leaves = [torch.tensor(a, requires_grad=True) for a in (x, w, b)]
    y = torch.nn.functional.conv2d(*leaves, stride=case.stride, padding=case.pad)
    cotangent = torch.tensor(dy)
    return lambda: torch.autograd.grad(y, leaves, cotangent, retain_graph=True)


def medians(candidates: dict[str, Callable[[], Any]], runs: int) -> dict[str, float]:
    """Milliseconds of each candidate; runs are interleaved, each time in another order.

    Each run comes right after one that isn't measured: threads of one library go on waiting for work for a while
    after they have done it, in the way of the next one's, and are slow to wake when they have stopped.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    names = list(candidates)
    for k in range(runs):
        for name in (*names[k % len(names) :], *names[: k % len(names)]):
            candidates[name]()
            start = time.perf_counter()
            candidates[name]()
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(found) for name, found in times.items()}


def measured(case: Case, runs: int, module: dict[str, Any]) -> tuple[dict[str, float], dict[str, float], list[str]]:
    """Medians of the whole backward passes and of every way by hand, and the fastest of these for dw and for dx."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((case.N, case.C, case.H, case.W)).astype("float32")
    w = rng.standard_normal((case.F, case.C, case.R, case.S)).astype("float32")
    b = rng.standard_normal(case.F).astype("float32")
    dy = rng.standard_normal((case.N, case.F, *case.output)).astype("float32")
    _, cache = module["forward"](x, w, b, stride=case.stride, pad=case.pad)
    gradients = module["backward"](dy, cache)
    hand = ByHand(case, x, w, dy)
    ways = {**hand.ways("dw"), **hand.ways("dx")}
    for name, way in ways.items():
        expected = gradients.dw if name.startswith("dw") else gradients.dx
        assert np.allclose(way(), expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max()), name
    parts = medians(dict(ways), runs)
    best = [min((n for n in parts if n.startswith(g)), key=parts.__getitem__) for g in ("dw", "dx")]
    whole = {
        "generated": lambda: module["backward"](dy, cache),
        "by hand": lambda: (ways[best[1]](), ways[best[0]](), dy.sum(axis=(0, 2, 3))),
        "torch": torch_backward(case, x, w, b, dy),
    }
    return medians(whole, runs), parts, best


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=15, help="interleaved runs of every candidate (default: 15)")
    parser.add_argument("--table", action="store_true", help="also the time of every way by hand")
    options = parser.parse_args()
    module: dict[str, Any] = {}
    exec(build_module(parse(LAYER)), module)
    print(f"{'case':40} {'generated':>10} {'by hand':>9} {'torch':>8} {'/ hand':>7} {'/ torch':>8}  best by hand")
    for case in CASES:
        found, parts, best = measured(case, options.runs, module)
        generated, hand, torch = found["generated"], found["by hand"], found["torch"]
        ratios = f"{generated / hand:7.2f} {generated / torch:8.2f}"
        print(f"{case!s:40} {generated:8.2f}ms {hand:7.2f}ms {torch:6.2f}ms {ratios}  {', '.join(best)}")
        if options.table:
            for name, value in sorted(parts.items()):
                print(f"    {name:36} {value:8.2f}ms")


if __name__ == "__main__":
    main()
