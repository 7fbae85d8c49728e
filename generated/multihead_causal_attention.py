"""Self-attention with H heads of K channels each, in which a position sees itself and those before it.

    q[..., h, t, c]     = sum[d](wq[d, h, c]*x[..., t, d]) + bq[h, c]
    k[..., h, t, c]     = sum[d](wk[d, h, c]*x[..., t, d]) + bk[h, c]
    v[..., h, t, c]     = sum[d](wv[d, h, c]*x[..., t, d]) + bv[h, c]
    score[..., h, t, s] = sum[d](k[..., h, s, d]*q[..., h, t, d])/sqrt(K)
    p[..., h, t, s]     = softmax[s](where(s <= t, score[..., h, t, s], -inf))
    a[..., h, t, e]     = sum[s](p[..., h, t, s]*v[..., h, s, e])
    y[..., t, d]        = sum[h, c](wo[h, c, d]*a[..., h, t, c]) + bo[d]

Source: Vaswani et al., "Attention Is All You Need", 2017.
"""

# Made by derive 0.1.0 from attention.layer. Do not edit: change the layer file and run
# `derive generate multihead_causal_attention`.

import math
from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [..., T, D]
    wq: np.ndarray  # [D, H, K]
    wk: np.ndarray  # [D, H, K]
    wv: np.ndarray  # [D, H, K]
    wo: np.ndarray  # [H, K, D]
    q: np.ndarray  # [..., H, T, K]
    k: np.ndarray  # [..., H, T, K]
    v: np.ndarray  # [..., H, T, K]
    p: np.ndarray  # [..., H, T, T]
    a: np.ndarray  # [..., H, T, K]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [..., T, D]
    dwq: np.ndarray  # [D, H, K]
    dwk: np.ndarray  # [D, H, K]
    dwv: np.ndarray  # [D, H, K]
    dwo: np.ndarray  # [H, K, D]
    dbq: np.ndarray  # [H, K]
    dbk: np.ndarray  # [H, K]
    dbv: np.ndarray  # [H, K]
    dbo: np.ndarray  # [D]


def forward(x, wq, wk, wv, wo, bq, bk, bv, bo):
    """Return (y, cache).

    x, y: [..., T, D]; wq, wk, wv: [D, H, K]; wo: [H, K, D]; bq, bk, bv: [H, K]; bo: [D].
    Raises ValueError for another shape or kind or an empty axis.
    """
    x, wq, wk, wv, wo, bq, bk, bv, bo = _expect(x, wq, wk, wv, wo, bq, bk, bv, bo)
    K = wq.shape[2]
    T = x.shape[-2]
    q = np.einsum("...td,dhc->...htc", x, wq, optimize=True) + bq[:, None, :]
    k = np.einsum("...td,dhc->...htc", x, wk, optimize=True) + bk[:, None, :]
    v = np.einsum("...td,dhc->...htc", x, wv, optimize=True) + bv[:, None, :]
    score = q @ np.swapaxes(k, -1, -2) / math.sqrt(K)
    p = np.where(np.arange(T) <= np.arange(T)[:, None], score, -np.inf)
    p = np.exp(p - p.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    a = p @ v
    y = np.einsum("...htc,hcd->...td", a, wo, optimize=True) + bo
    dtypes = (x.dtype, wq.dtype, wk.dtype, wv.dtype, wo.dtype, bq.dtype, bk.dtype, bv.dtype, bo.dtype)
    return y, Cache(x, wq, wk, wv, wo, q, k, v, p, a, dtypes)


def backward(dy, cache, out=None):
    """Return Gradients(dx, dwq, dwk, dwv, dwo, dbq, dbk, dbv, dbo).

        da[..., h, t, e]     = sum[d](dy[..., t, d]*wo[h, e, d])
        dp[..., h, t, s]     = sum[e](da[..., h, t, e]*v[..., h, s, e])
        dscore[..., h, t, s] = p[..., h, t, s]*(dp[..., h, t, s] - sum[e](a[..., h, t, e]*da[..., h, t, e]))
        dv[..., h, t, c]     = sum[s](da[..., h, s, c]*p[..., h, s, t])
        dk[..., h, t, c]     = sum[s](dscore[..., h, s, t]*q[..., h, s, c])/sqrt(K)
        dq[..., h, t, c]     = sum[s](dscore[..., h, t, s]*k[..., h, s, c])/sqrt(K)
        dx[..., t, d]        = sum[h, c](wk[d, h, c]*dk[..., h, t, c]) + sum[h, c](wq[d, h, c]*dq[..., h, t, c])
                               + sum[h, c](wv[d, h, c]*dv[..., h, t, c])
        dwq[d, h, c]         = sum[..., t](x[..., t, d]*dq[..., h, t, c])
        dwk[d, h, c]         = sum[..., t](x[..., t, d]*dk[..., h, t, c])
        dwv[d, h, c]         = sum[..., t](x[..., t, d]*dv[..., h, t, c])
        dwo[h, c, d]         = sum[..., t](dy[..., t, d]*a[..., h, t, c])
        dbq[h, c]            = sum[..., t](dq[..., h, t, c])
        dbk[h, c]            = 0
        dbv[h, c]            = sum[..., t](da[..., h, t, c])
        dbo[d]               = sum[..., t](dy[..., t, d])

    dy: [..., T, D].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x, wq, wk, wv, wo, q, k, v, p, a, dtypes = cache
    _, H, K = wq.shape
    T = x.shape[-2]
    D = x.shape[-1]
    dy = _cotangent("dy", dy, x.shape, np.result_type(*dtypes))
    da = np.einsum("...td,hed->...hte", dy, wo, optimize=True)
    dp = da @ np.swapaxes(v, -1, -2)
    dscore = p * (dp - (a * da).sum(axis=-1, keepdims=True))
    dv = np.swapaxes(p, -1, -2) @ da
    dk = np.swapaxes(dscore, -1, -2) @ q / math.sqrt(K)
    dq = dscore @ k / math.sqrt(K)
    dx = (
        np.einsum("...htc,dhc->...td", dq, wq, optimize=True)
        + np.einsum("...htc,dhc->...td", dk, wk, optimize=True)
        + np.einsum("...htc,dhc->...td", dv, wv, optimize=True)
    )
    dwq = np.einsum("btd,bhtc->dhc", x.reshape(-1, T, D), dq.reshape(-1, H, T, K), optimize=True)
    dwk = np.einsum("btd,bhtc->dhc", x.reshape(-1, T, D), dk.reshape(-1, H, T, K), optimize=True)
    dwv = np.einsum("btd,bhtc->dhc", x.reshape(-1, T, D), dv.reshape(-1, H, T, K), optimize=True)
    dwo = np.einsum("bhtc,btd->hcd", a.reshape(-1, H, T, K), dy.reshape(-1, T, D), optimize=True)
    batch_axes = tuple(range(dq.ndim - 3))
    dbq = dq.sum(axis=(*batch_axes, -2))
    dbk = np.zeros((H, K), dtype=dy.dtype)
    dbv = da.sum(axis=(*batch_axes, -2))
    dbo = dy.sum(axis=(*batch_axes, -2))
    return _into(out, Gradients(*map(np.asarray, (dx, dwq, dwk, dwv, dwo, dbq, dbk, dbv, dbo), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("...", "T", "D")),
    "wq": ("Real", ("D", "H", "K")),
    "wk": ("Real", ("D", "H", "K")),
    "wv": ("Real", ("D", "H", "K")),
    "wo": ("Real", ("H", "K", "D")),
    "bq": ("Real", ("H", "K")),
    "bk": ("Real", ("H", "K")),
    "bv": ("Real", ("H", "K")),
    "bo": ("Real", ("D",)),
}
_KINDS = {"Real": "f"}
# What is undefined where an axis has no elements.
_NONEMPTY = {
    "K": "a division by K",
    "T": "softmax[s]",
}


def _expect(*inputs):
    """Return the inputs as arrays; ValueError for another kind or shape, or an empty axis."""
    arrays = [np.asarray(value) for value in inputs]
    sizes = {}  # of every axis: its length, and the input it is from
    for k, (name, (kind, axes)) in enumerate(_INPUTS.items()):
        array, known = arrays[k], {axis: sizes[axis] for axis in axes if axis in sizes}
        if array.dtype.kind not in _KINDS[kind]:
            raise ValueError(f"{name}: expected {kind} elements, got {array.dtype}")
        shape, batch = array.shape, array.ndim - len(axes) + 1
        if axes[:1] == ("...",) and batch >= 0:
            shape = (shape[:batch], *shape[batch:])
        for axis, length in zip(axes, shape, strict=False):
            sizes.setdefault(axis, (length, f"{name} {array.shape}"))
        if shape != tuple(sizes[axis][0] for axis in axes if axis in sizes) or len(shape) != len(axes):
            raise ValueError(f"{name}: expected shape {_described(axes, known)}, got {array.shape}")
    for axis, why in _NONEMPTY.items():
        if 0 in np.atleast_1d(sizes[axis][0]):
            raise ValueError(f"{sizes[axis][1]}: the axis {axis} is empty, which leaves {why} undefined")
    return arrays


def _described(axes, known):
    """Return "(N, D) = (4, D), N from x (4, 5)": the axes, and what is known of them."""

    def shape(lengths):
        text = ", ".join(str(n).strip("()").rstrip(",") for n in lengths)
        return f"({text},)" if len(lengths) == 1 else f"({text})"

    if not known:
        return shape(axes)
    owners = "".join(f", {axis} from {owner}" for axis, (_, owner) in known.items())
    return f"{shape(axes)} = {shape([known.get(axis, (axis,))[0] for axis in axes])}{owners}"


def _cotangent(name, value, shape, dtype):
    """Return a cotangent as an array of that dtype; ValueError for another kind or shape."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name}: expected Real elements, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    return array.astype(dtype, copy=False)


def _into(out, gradients):
    """Return the gradients, in the arrays of out where it has them; ValueError where one does not fit."""
    if out is None:
        return gradients
    arrays = _arrays(out)
    for name, value, array in zip(Gradients._fields, gradients, arrays, strict=True):
        if array is not None and (array.shape, array.dtype) != (np.shape(value), value.dtype):
            wanted = f"{value.dtype} of shape {np.shape(value)}"
            raise ValueError(f"out, {name}: expected {wanted}, got {array.dtype} of shape {array.shape}")
    for value, array in zip(gradients, arrays, strict=True):
        if array is not None and array is not value:
            np.copyto(array, value)
    return Gradients(*(value if array is None else array for value, array in zip(gradients, arrays, strict=True)))


def _arrays(out):
    """Return an array or None for each gradient; ValueError for anything else, or where two share memory."""
    fields = Gradients._fields
    if isinstance(out, dict):
        if not out.keys() <= set(fields):
            raise ValueError(f"out: expected names among {', '.join(fields)}, got {', '.join(map(str, out))}")
        out = [out.get(name) for name in fields]
    if not isinstance(out, (tuple, list)) or len(out) != len(fields):
        raise ValueError(f"out: expected Gradients({', '.join(fields)}), a sequence in this order or a dict")
    for k, (name, array) in enumerate(zip(fields, out, strict=True)):
        if array is not None and not (isinstance(array, np.ndarray) and array.flags.writeable):
            raise ValueError(f"out, {name}: expected an array that can be written to, or None")
        for other in out[:k]:
            if array is not None and other is not None and np.shares_memory(array, other):
                raise ValueError(f"out, {name}: shares memory with another one")
    return out
