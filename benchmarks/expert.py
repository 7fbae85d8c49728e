"""The backward passes of the cases in NumPy, as well as a person can write them.

Each layer has one class: it is made of the inputs, computes what it saves (as
little as the backward needs), and has one method or several that give the
gradients. Where several are given, whichever is fastest at a size counts.
Every trick is allowed that keeps the results: sums over columns as ``ones @ a``,
sums over rows as a product with a vector, one buffer, blocks of rows that stay
in the cache.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import erfc

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.convolution import ByHand
from benchmarks.convolution import Case as Convolution

__all__ = ["EXPERTS", "ways"]

Array = np.ndarray
Gradients = tuple[Array, ...]
BLOCK = 384 << 10
"""Bytes of the block of rows that is worked on at a time."""


def blocks(a: Array) -> Iterator[slice]:
    """Yield the slices of rows that make blocks."""
    rows = max(1, BLOCK // (a.itemsize * a[0].size))
    for start in range(0, len(a), rows):
        yield slice(start, start + rows)


class Linear:
    """``y = x @ w + b``."""

    def __init__(self, x: Array, w: Array, b: Array) -> None:
        self.x, self.w = x, w

    def whole(self, dy: Array) -> Gradients:
        """Three products."""
        return dy @ self.w.T, self.x.T @ dy, np.ones(len(dy), dy.dtype) @ dy

    def summed(self, dy: Array) -> Gradients:
        """Two products and a sum."""
        return dy @ self.w.T, self.x.T @ dy, np.add.reduce(dy)


class BatchNorm:
    """Normalized over the rows."""

    def __init__(self, x: Array, gamma: Array, beta: Array) -> None:
        centred = x - x.mean(axis=0)
        rstd = 1 / np.sqrt((centred * centred).mean(axis=0) + 1e-5)
        self.xhat = centred * rstd
        self.scale = gamma * rstd

    def whole(self, dy: Array) -> Gradients:
        """On whole arrays."""
        n = len(dy)
        dgamma = np.einsum("nd,nd->d", dy, self.xhat)
        dbeta = np.ones(n, dy.dtype) @ dy
        dx = self.xhat * (dgamma * (-1 / n))
        dx += dy
        dx -= dbeta / n
        dx *= self.scale
        return dx, dgamma, dbeta

    def blocked(self, dy: Array) -> Gradients:
        """In blocks of rows, twice."""
        n, xhat = len(dy), self.xhat
        dgamma, dbeta = np.zeros_like(self.scale), np.zeros_like(self.scale)
        dx = np.empty_like(dy)
        parts = [*blocks(dy)]
        buffer = np.empty_like(dy[parts[0]])
        ones = np.ones(len(buffer), dy.dtype)
        for s in parts:
            d = dy[s]
            t = np.multiply(d, xhat[s], out=buffer[: len(d)])
            one = ones[: len(d)]
            dgamma += one @ t
            dbeta += one @ d
        a, b = self.scale * dbeta / n, self.scale * dgamma / n
        for s in parts:
            d, out = dy[s], dx[s]
            np.multiply(d, self.scale, out=out)
            out -= np.multiply(xhat[s], b, out=buffer[: len(d)])
            out -= a
        return dx, dgamma, dbeta


class LayerNorm:
    """Normalized over the last axis."""

    def __init__(self, x: Array, gamma: Array, beta: Array) -> None:
        centred = x - x.mean(axis=-1, keepdims=True)
        self.rstd = 1 / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + 1e-5)
        self.xhat = centred * self.rstd
        self.gamma = gamma

    def _rows(self, dy: Array, xhat: Array, rstd: Array, dx: Array, t: Array, one: Array) -> tuple[Array, Array]:
        mean = self.gamma / dy.shape[-1]
        np.multiply(dy, xhat, out=t)
        dgamma, dbeta = one @ t, one @ dy
        of_product, of_sum = (t @ mean)[:, None], (dy @ mean)[:, None]
        np.multiply(dy, self.gamma, out=dx)
        dx -= of_sum
        dx -= np.multiply(xhat, of_product, out=t)
        dx *= rstd
        return dgamma, dbeta

    def whole(self, dy: Array) -> Gradients:
        """On whole arrays, one buffer."""
        dx = np.empty_like(dy)
        t = np.empty_like(dy)
        dgamma, dbeta = self._rows(dy, self.xhat, self.rstd, dx, t, np.ones(len(dy), dy.dtype))
        return dx, dgamma, dbeta

    def blocked(self, dy: Array) -> Gradients:
        """In blocks of rows."""
        dx = np.empty_like(dy)
        parts = [*blocks(dy)]
        buffer = np.empty_like(dy[parts[0]])
        ones = np.ones(len(buffer), dy.dtype)
        dgamma, dbeta = np.zeros_like(self.gamma), np.zeros_like(self.gamma)
        for s in parts:
            d = dy[s]
            g, b = self._rows(d, self.xhat[s], self.rstd[s], dx[s], buffer[: len(d)], ones[: len(d)])
            dgamma += g
            dbeta += b
        return dx, dgamma, dbeta


class RMSNorm:
    """Divided by the root of the mean square over the last axis."""

    def __init__(self, x: Array, gamma: Array) -> None:
        self.rrms = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-6)
        self.xhat = x * self.rrms
        self.gamma = gamma

    def _rows(self, dy: Array, xhat: Array, rrms: Array, dx: Array, t: Array, one: Array) -> Array:
        np.multiply(dy, xhat, out=t)
        dgamma: Array = one @ t
        mean = (t @ (self.gamma / dy.shape[-1]))[:, None]
        np.multiply(dy, self.gamma, out=dx)
        dx -= np.multiply(xhat, mean, out=t)
        dx *= rrms
        return dgamma

    def whole(self, dy: Array) -> Gradients:
        """On whole arrays, one buffer."""
        dx, t = np.empty_like(dy), np.empty_like(dy)
        return dx, self._rows(dy, self.xhat, self.rrms, dx, t, np.ones(len(dy), dy.dtype))

    def blocked(self, dy: Array) -> Gradients:
        """In blocks of rows."""
        dx = np.empty_like(dy)
        parts = [*blocks(dy)]
        buffer = np.empty_like(dy[parts[0]])
        ones = np.ones(len(buffer), dy.dtype)
        dgamma = np.zeros_like(self.gamma)
        for s in parts:
            d = dy[s]
            dgamma += self._rows(d, self.xhat[s], self.rrms[s], dx[s], buffer[: len(d)], ones[: len(d)])
        return dx, dgamma


class Softmax:
    """Over the last axis; the result is saved."""

    def __init__(self, z: Array) -> None:
        e = np.exp(z - z.max(axis=-1, keepdims=True))
        self.y = e / e.sum(axis=-1, keepdims=True)

    def whole(self, dy: Array) -> Gradients:
        """On whole arrays."""
        dz = dy - np.vecdot(dy, self.y)[:, None]
        dz *= self.y
        return (dz,)

    def blocked(self, dy: Array) -> Gradients:
        """In blocks of rows."""
        dz = np.empty_like(dy)
        for s in blocks(dy):
            d, y, out = dy[s], self.y[s], dz[s]
            np.subtract(d, np.vecdot(d, y)[:, None], out=out)
            out *= y
        return (dz,)


class LogSoftmax:
    """Over the last axis; the probabilities are saved."""

    def __init__(self, z: Array) -> None:
        self.p = Softmax(z).y

    def whole(self, dy: Array) -> Gradients:
        """On whole arrays."""
        dz = self.p * (dy @ np.ones(dy.shape[-1], dy.dtype))[:, None]
        return (np.subtract(dy, dz, out=dz),)

    def blocked(self, dy: Array) -> Gradients:
        """In blocks of rows."""
        dz = np.empty_like(dy)
        ones = np.ones(dy.shape[-1], dy.dtype)
        for s in blocks(dy):
            d, out = dy[s], dz[s]
            np.multiply(self.p[s], (d @ ones)[:, None], out=out)
            np.subtract(d, out, out=out)
        return (dz,)


class CrossEntropy:
    """The mean over the rows; the probabilities are saved."""

    def __init__(self, z: Array, t: Array) -> None:
        self.p, self.t = Softmax(z).y, t

    def whole(self, dloss: Array) -> Gradients:
        """A scaled copy, less at the labels."""
        each = dloss / self.p.dtype.type(len(self.t))
        dz = self.p * each
        dz[np.arange(len(dz)), self.t] -= each
        return (dz,)


class Gelu:
    """``x*Phi(x)``; x and Phi(x) are saved, which the forward pass has."""

    def __init__(self, x: Array) -> None:
        self.x, self.cdf = x, 0.5 * erfc(x * -math.sqrt(0.5))

    def whole(self, dy: Array) -> Gradients:
        """On whole arrays."""
        t = self.x * self.x
        t *= -0.5
        np.exp(t, out=t)
        t *= self.x
        t *= 1 / math.sqrt(2 * math.pi)
        t += self.cdf
        t *= dy
        return (t,)

    def blocked(self, dy: Array) -> Gradients:
        """In blocks of rows."""
        dx = np.empty_like(dy)
        for s in blocks(dy):
            x, t = self.x[s], dx[s]
            np.multiply(x, x, out=t)
            t *= -0.5
            np.exp(t, out=t)
            t *= x
            t *= 1 / math.sqrt(2 * math.pi)
            t += self.cdf[s]
            t *= dy[s]
        return (dx,)


class Silu:
    """``x*sigmoid(x)``; the sigmoid and the result are saved."""

    def __init__(self, x: Array) -> None:
        self.sigmoid = 1 / (1 + np.exp(-x))
        self.y = x * self.sigmoid

    def whole(self, dy: Array) -> Gradients:
        """On whole arrays."""
        t = 1 - self.sigmoid
        t *= self.y
        t += self.sigmoid
        t *= dy
        return (t,)

    def blocked(self, dy: Array) -> Gradients:
        """In blocks of rows."""
        dx = np.empty_like(dy)
        for s in blocks(dy):
            t, sigmoid = dx[s], self.sigmoid[s]
            np.subtract(1, sigmoid, out=t)
            t *= self.y[s]
            t += sigmoid
            t *= dy[s]
        return (dx,)


class Attention:
    """Scaled dot products; the probabilities and the result are saved."""

    def __init__(self, q: Array, k: Array, v: Array) -> None:
        self.q, self.k, self.v = q, k, v
        self.root = 1 / math.sqrt(q.shape[-1])
        score = q @ k.swapaxes(-1, -2) * self.root
        e = np.exp(score - score.max(axis=-1, keepdims=True))
        self.p = e / e.sum(axis=-1, keepdims=True)
        self.y = self.p @ v

    def whole(self, dy: Array) -> Gradients:
        """Four products, and two passes in place."""
        dv = self.p.swapaxes(-1, -2) @ dy
        ds = dy @ self.v.swapaxes(-1, -2)
        ds -= np.vecdot(dy, self.y)[..., None]
        ds *= self.p
        dq = ds @ self.k
        dq *= self.root
        dk = ds.swapaxes(-1, -2) @ self.q
        dk *= self.root
        return dq, dk, dv

    def by_sample(self, dy: Array) -> Gradients:
        """One sample of the batch at a time, which stays in the cache."""
        dq, dk, dv = np.empty_like(self.q), np.empty_like(self.k), np.empty_like(self.v)
        q, k = self.q * self.root, self.k * self.root
        ds = np.empty_like(self.p[0])
        for n, d in enumerate(dy):
            p = self.p[n]
            np.matmul(p.T, d, out=dv[n])
            np.matmul(d, self.v[n].T, out=ds)
            np.subtract(ds, np.vecdot(d, self.y[n])[:, None], out=ds)
            np.multiply(ds, p, out=ds)
            np.matmul(ds, k[n], out=dq[n])
            np.matmul(ds.T, q[n], out=dk[n])
        return dq, dk, dv


class Conv2d:
    """A convolution with padding 1; every way of ``convolution.py`` for each gradient."""

    def __init__(self, x: Array, w: Array, b: Array) -> None:
        (n, c, height, width), (f, _, r, s) = x.shape, w.shape
        self.hand = ByHand(Convolution(n, c, height, width, f, r, s, 1), x, w, np.empty(0, x.dtype))

    def _both(self, dy: Array, dx: Callable[[], Array], dw: Callable[[], Array]) -> Gradients:
        self.hand.dy = dy
        return dx(), dw(), dy.sum(axis=(0, 2, 3))

    def columns(self, dy: Array) -> Gradients:
        """Both from columns, those of an offset side by side."""
        return self._both(dy, self.hand.dx_columns_by_offset, self.hand.dw_columns)

    def columns_first(self, dy: Array) -> Gradients:
        """One product for all samples."""
        return self._both(dy, self.hand.dx_columns_channels_first, self.hand.dw_columns)

    def correlation(self, dy: Array) -> Gradients:
        """The input's gradient as a convolution with the turned window."""
        return self._both(dy, self.hand.dx_correlation, self.hand.dw_columns)

    def by_sample(self, dy: Array) -> Gradients:
        """The window's gradient sample by sample."""
        return self._both(dy, self.hand.dx_columns_by_offset, self.hand.dw_columns_by_sample)

    def tensordot(self, dy: Array) -> Gradients:
        """The window's gradient as the textbook has it."""
        return self._both(dy, self.hand.dx_columns_by_offset, self.hand.dw_tensordot)


class CharMLP:
    """An embedding, a hidden layer with batch normalization, and cross entropy over characters."""

    def __init__(
        self, x: Array, y: Array, C: Array, W1: Array, b1: Array, gamma: Array, beta: Array, W2: Array, b2: Array
    ) -> None:
        n = len(x)
        self.x, self.y, self.W2, self.C = x, y, W2, C
        self.emb = C[x].reshape(n, -1)
        self.shape = W1.shape
        self.W1 = W1.reshape(self.emb.shape[1], -1)
        h = self.emb @ self.W1 + b1
        centred = h - h.mean(axis=0)
        rstd = 1 / np.sqrt((centred * centred).sum(axis=0) / (n - 1) + 1e-5)
        self.hhat = centred * rstd
        self.scale = gamma * rstd
        self.a = np.tanh(gamma * self.hhat + beta)
        self.p = Softmax(self.a @ W2 + b2).y

    def whole(self, dloss: Array) -> Gradients:
        """On whole arrays; rows of the embedding are added up by a product with a matrix of ones and zeros."""
        n, dtype = len(self.x), self.p.dtype
        each = dloss / dtype.type(n)
        dlogits = self.p * each
        dlogits[np.arange(n), self.y] -= each
        ones = np.ones(n, dtype)
        db2 = ones @ dlogits
        dW2 = self.a.T @ dlogits
        t = self.a * self.a
        np.subtract(1, t, out=t)
        dpre = dlogits @ self.W2.T
        dpre *= t
        np.multiply(dpre, self.hhat, out=t)
        dgamma, dbeta = ones @ t, ones @ dpre
        dpre -= np.multiply(self.hhat, dgamma / (n - 1), out=t)
        dpre -= dbeta / n
        dpre *= self.scale
        dW1 = (self.emb.T @ dpre).reshape(self.shape)
        demb = (dpre @ self.W1.T).reshape(-1, self.C.shape[1])
        labels = self.x.reshape(-1)
        if len(labels) > 256:
            places = np.zeros((len(labels), len(self.C)), dtype)
            places[np.arange(len(labels)), labels] = 1
            dC = places.T @ demb
        else:
            dC = np.zeros_like(self.C)
            np.add.at(dC, labels, demb)
        return dC, dW1, np.zeros_like(dbeta), dgamma, dbeta, dW2, db2


EXPERTS: Mapping[str, Any] = {
    "linear": Linear, "batchnorm": BatchNorm, "layernorm": LayerNorm, "rmsnorm": RMSNorm, "softmax": Softmax,
    "log_softmax": LogSoftmax, "cross_entropy": CrossEntropy, "gelu": Gelu, "silu": Silu, "attention": Attention,
    "conv2d": Conv2d, "char_mlp": CharMLP,
}  # fmt: skip
"""The class of each layer."""


def ways(
    layer: str, arrays: Mapping[str, Array], cotangents: Mapping[str, Array]
) -> dict[str, Callable[[], Gradients]]:
    """Return every way to a layer's gradients, by name; forward values are computed once, here.

    Args:
        layer: its name in the catalogue.
        arrays: the inputs, in order.
        cotangents: of the outputs, in order.
    """
    expert = EXPERTS[layer](*arrays.values())
    given = tuple(cotangents.values())
    names = [name for name in vars(type(expert)) if not name.startswith("_")]
    return {name: lambda name=name: getattr(expert, name)(*given) for name in names}  # type: ignore[misc]
