"""Causal attention in which R query heads share each of G key and value heads.

    score[..., g, r, t, s] = sum[d](k[..., g, s, d]*q[..., g, r, t, d])/sqrt(D)
    p[..., g, r, t, s]     = softmax[s](where(s <= t, score[..., g, r, t, s], -inf))
    y[..., g, r, t, e]     = sum[s](v[..., g, s, e]*p[..., g, r, t, s])

Source: Ainslie et al., "GQA: Training Generalized Multi-Query Transformer Models from Multi-Head
Checkpoints", 2023.
"""

# Made by derive 0.1.0 from attention.layer. Do not edit: change the layer file and run
# `derive generate grouped_query_attention`.

import math
from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    q: np.ndarray  # [..., G, R, T, D]
    k: np.ndarray  # [..., G, S, D]
    v: np.ndarray  # [..., G, S, E]
    p: np.ndarray  # [..., G, R, T, S]
    y: np.ndarray  # [..., G, R, T, E]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dq: np.ndarray  # [..., G, R, T, D]
    dk: np.ndarray  # [..., G, S, D]
    dv: np.ndarray  # [..., G, S, E]


def forward(q, k, v):
    """Return (y, cache).

    q: [..., G, R, T, D]; k: [..., G, S, D]; v: [..., G, S, E]; y: [..., G, R, T, E].
    Raises ValueError for another shape or kind or an empty axis.
    """
    q, k, v = _expect(q, k, v)
    T = q.shape[-2]
    D = q.shape[-1]
    S = k.shape[-2]
    score = np.einsum("...grtd,...gsd->...grts", q, k, optimize=True) / math.sqrt(D)
    p = np.where(np.arange(S) <= np.arange(T)[:, None], score, -np.inf)
    p = np.exp(p - p.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    y = np.einsum("...gse,...grts->...grte", v, p, optimize=True)
    dtypes = (q.dtype, k.dtype, v.dtype)
    return y, Cache(q, k, v, p, y, dtypes)


def backward(dy, cache, out=None):
    """Return Gradients(dq, dk, dv).

        dp[..., g, r, t, s]     = sum[e](v[..., g, s, e]*dy[..., g, r, t, e])
        dscore[..., g, r, t, s] = p[..., g, r, t, s]*
                                  (dp[..., g, r, t, s] - sum[e](dy[..., g, r, t, e]*y[..., g, r, t, e]))
        dq[..., g, r, t, d]     = sum[s](k[..., g, s, d]*dscore[..., g, r, t, s])/sqrt(D)
        dk[..., g, s, d]        = sum[r, t](dscore[..., g, r, t, s]*q[..., g, r, t, d])/sqrt(D)
        dv[..., g, s, e]        = sum[r, t](dy[..., g, r, t, e]*p[..., g, r, t, s])

    dy: [..., G, R, T, E].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    q, k, v, p, y, dtypes = cache
    D = q.shape[-1]
    dy = _cotangent("dy", dy, y.shape, np.result_type(*dtypes))
    dp = np.einsum("...grte,...gse->...grts", dy, v, optimize=True)
    dscore = p * (dp - (dy * y).sum(axis=-1, keepdims=True))
    dq = np.einsum("...gsd,...grts->...grtd", k, dscore, optimize=True) / math.sqrt(D)
    dk = np.einsum("...grtd,...grts->...gsd", q, dscore, optimize=True) / math.sqrt(D)
    dv = np.einsum("...grte,...grts->...gse", dy, p, optimize=True)
    return _into(out, Gradients(*map(np.asarray, (dq, dk, dv), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "q": ("Real", ("...", "G", "R", "T", "D")),
    "k": ("Real", ("...", "G", "S", "D")),
    "v": ("Real", ("...", "G", "S", "E")),
}
_KINDS = {"Real": "f"}
# What is undefined where an axis has no elements.
_NONEMPTY = {
    "D": "a division by D",
    "S": "softmax[s]",
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
