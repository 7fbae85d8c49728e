"""Causal attention of queries and keys that are turned by their positions; their pairs lie on the last axis.

    theta[t, p]        = 10000**(-p/P)*t
    cos_theta[t, p]    = cos(theta[t, p])
    sin_theta[t, p]    = sin(theta[t, p])
    qr[..., t, p, r]   = where(r == 0, cos_theta[t, p]*q[..., t, p, 0] - sin_theta[t, p]*
                         q[..., t, p, 1], cos_theta[t, p]*q[..., t, p, 1] + sin_theta[t, p]*q[..., t, p, 0])
    kr_theta[t, p]     = 10000**(-p/P)*t
    cos_kr_theta[t, p] = cos(kr_theta[t, p])
    sin_kr_theta[t, p] = sin(kr_theta[t, p])
    kr[..., t, p, r]   = where(r == 0, cos_kr_theta[t, p]*k[..., t, p, 0] - sin_kr_theta[t, p]*
                         k[..., t, p, 1], cos_kr_theta[t, p]*k[..., t, p, 1] + sin_kr_theta[t, p]*
                         k[..., t, p, 0])
    score[..., t, s]   = 0.5*sqrt(2)*sum[p, r](kr[..., s, p, r]*qr[..., t, p, r])/sqrt(P)
    a[..., t, s]       = softmax[s](where(s <= t, score[..., t, s], -inf))
    y[..., t, e]       = sum[s](a[..., t, s]*v[..., s, e])

Source: Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021.
"""

# Made by derive 0.1.0 from attention.layer. Do not edit: change the layer file and run
# `derive generate rotary_attention`.

import math
from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    v: np.ndarray  # [..., T, E]
    cos_theta: np.ndarray  # [T, P]
    sin_theta: np.ndarray  # [T, P]
    qr: np.ndarray  # [..., T, P, 2]
    cos_kr_theta: np.ndarray  # [T, P]
    sin_kr_theta: np.ndarray  # [T, P]
    kr: np.ndarray  # [..., T, P, 2]
    a: np.ndarray  # [..., T, T]
    y: np.ndarray  # [..., T, E]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dq: np.ndarray  # [..., T, P, 2]
    dk: np.ndarray  # [..., T, P, 2]
    dv: np.ndarray  # [..., T, E]


def forward(q, k, v):
    """Return (y, cache).

    q, k: [..., T, P, 2]; v, y: [..., T, E].
    Raises ValueError for another shape or kind or an empty axis.
    """
    q, k, v = _expect(q, k, v)
    dtype = np.result_type(q, k, v)
    T = q.shape[-3]
    P = q.shape[-2]
    theta = 10000 ** -(np.arange(P, dtype=dtype) / P) * np.arange(T, dtype=dtype)[:, None]
    cos_theta = np.cos(theta)
    sin_theta = np.sin(theta)
    qr = cos_theta[:, :, None] * q[..., 0, None] - sin_theta[:, :, None] * q[..., 1, None]
    term = cos_theta[:, :, None] * q[..., 1, None] + sin_theta[:, :, None] * q[..., 0, None]
    qr = np.where(np.arange(2) == 0, qr, term)
    kr_theta = 10000 ** -(np.arange(P, dtype=dtype) / P) * np.arange(T, dtype=dtype)[:, None]
    cos_kr_theta = np.cos(kr_theta)
    sin_kr_theta = np.sin(kr_theta)
    kr = cos_kr_theta[:, :, None] * k[..., 0, None] - sin_kr_theta[:, :, None] * k[..., 1, None]
    term2 = cos_kr_theta[:, :, None] * k[..., 1, None] + sin_kr_theta[:, :, None] * k[..., 0, None]
    kr = np.where(np.arange(2) == 0, kr, term2)
    score = np.einsum("...tpr,...spr->...ts", qr, kr, optimize=True) / math.sqrt(2 * P)
    a = np.where(np.arange(T) <= np.arange(T)[:, None], score, -np.inf)
    a = np.exp(a - a.max(axis=-1, keepdims=True))
    a /= a.sum(axis=-1, keepdims=True)
    y = a @ v
    dtypes = (q.dtype, k.dtype, v.dtype)
    return y, Cache(v, cos_theta, sin_theta, qr, cos_kr_theta, sin_kr_theta, kr, a, y, dtypes)


def backward(dy, cache, out=None):
    """Return Gradients(dq, dk, dv).

        da[..., t, s]     = sum[e](dy[..., t, e]*v[..., s, e])
        dscore[..., t, s] = a[..., t, s]*(da[..., t, s] - sum[e](dy[..., t, e]*y[..., t, e]))
        dkr[..., t, p, r] = 0.5*sqrt(2)*sum[s](dscore[..., s, t]*qr[..., s, p, r])/sqrt(P)
        dqr[..., t, p, r] = 0.5*sqrt(2)*sum[s](dscore[..., t, s]*kr[..., s, p, r])/sqrt(P)
        dq[..., t, p, i]  = delta(0, i)*cos_theta[t, p]*dqr[..., t, p, 0] + delta(0, i)*sin_theta[t, p]*
                            dqr[..., t, p, 1] + delta(1, i)*cos_theta[t, p]*dqr[..., t, p, 1] - delta(1, i)*
                            sin_theta[t, p]*dqr[..., t, p, 0]
        dk[..., t, p, i]  = delta(0, i)*cos_kr_theta[t, p]*dkr[..., t, p, 0] + delta(0, i)*sin_kr_theta[t, p]*
                            dkr[..., t, p, 1] + delta(1, i)*cos_kr_theta[t, p]*dkr[..., t, p, 1] - delta(1, i)*
                            sin_kr_theta[t, p]*dkr[..., t, p, 0]
        dv[..., s, e]     = sum[t](a[..., t, s]*dy[..., t, e])

    dy: [..., T, E].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    v, cos_theta, sin_theta, qr, cos_kr_theta, sin_kr_theta, kr, a, y, dtypes = cache
    P = cos_theta.shape[1]
    dy = _cotangent("dy", dy, v.shape, np.result_type(*dtypes))
    da = dy @ np.swapaxes(v, -1, -2)
    dscore = a * (da - (dy * y).sum(axis=-1, keepdims=True))
    dkr = np.einsum("...spr,...st->...tpr", qr, dscore, optimize=True) / math.sqrt(2 * P)
    dqr = np.einsum("...spr,...ts->...tpr", kr, dscore, optimize=True) / math.sqrt(2 * P)
    dq = np.zeros(qr.shape, dtype=dy.dtype)
    dq[..., 0] = cos_theta * dqr[..., 0] + sin_theta * dqr[..., 1]
    dq[..., 1] = cos_theta * dqr[..., 1] - sin_theta * dqr[..., 0]
    dk = np.zeros(qr.shape, dtype=dy.dtype)
    dk[..., 0] = cos_kr_theta * dkr[..., 0] + sin_kr_theta * dkr[..., 1]
    dk[..., 1] = cos_kr_theta * dkr[..., 1] - sin_kr_theta * dkr[..., 0]
    dv = np.swapaxes(a, -1, -2) @ dy
    return _into(out, Gradients(*map(np.asarray, (dq, dk, dv), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "q": ("Real", ("...", "T", "P", 2)),
    "k": ("Real", ("...", "T", "P", 2)),
    "v": ("Real", ("...", "T", "E")),
}
_KINDS = {"Real": "f"}
# What is undefined where an axis has no elements.
_NONEMPTY = {
    "P": "a division by P",
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
            sizes.setdefault(axis, (axis if isinstance(axis, int) else length, f"{name} {array.shape}"))
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
