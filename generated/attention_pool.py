"""Weighted mean of T vectors, whose weights a gated network computes from them.

    sigmoid_pre_g[..., t, l] = sigmoid(sum[d](u[d, l]*x[..., t, d]))
    tanh_pre_g2[..., t, l]   = tanh(sum[d](v[d, l]*x[..., t, d]))
    g[..., t, l]             = sigmoid_pre_g[..., t, l]*tanh_pre_g2[..., t, l]
    a[..., t]                = softmax[t](sum[l](w[l]*g[..., t, l]))
    y[..., d]                = sum[t](a[..., t]*x[..., t, d])

Source: Ilse, Tomczak & Welling, "Attention-based Deep Multiple Instance Learning", 2018.
"""

# Made by derive 0.1.0 from pooling.layer. Do not edit: change the layer file and run
# `derive generate attention_pool`.

from typing import NamedTuple

import numpy as np
from scipy.special import expit  # NumPy has none


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [..., T, D]
    v: np.ndarray  # [D, L]
    u: np.ndarray  # [D, L]
    w: np.ndarray  # [L]
    sigmoid_pre_g: np.ndarray  # [..., T, L]
    tanh_pre_g2: np.ndarray  # [..., T, L]
    g: np.ndarray  # [..., T, L]
    a: np.ndarray  # [..., T]
    y: np.ndarray  # [..., D]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [..., T, D]
    dv: np.ndarray  # [D, L]
    du: np.ndarray  # [D, L]
    dw: np.ndarray  # [L]


def forward(x, v, u, w):
    """Return (y, cache).

    x: [..., T, D]; v, u: [D, L]; w: [L]; y: [..., D].
    Raises ValueError for another shape or kind or an empty axis.
    """
    x, v, u, w = _expect(x, v, u, w)
    sigmoid_pre_g = expit(x @ u)
    tanh_pre_g2 = np.tanh(x @ v)
    g = sigmoid_pre_g * tanh_pre_g2
    a = g @ w
    a = np.exp(a - a.max(axis=-1, keepdims=True))
    a /= a.sum(axis=-1, keepdims=True)
    y = np.einsum("...td,...t->...d", x, a)
    dtypes = (x.dtype, v.dtype, u.dtype, w.dtype)
    return y, Cache(x, v, u, w, sigmoid_pre_g, tanh_pre_g2, g, a, y, dtypes)


def backward(dy, cache, out=None):
    """Return Gradients(dx, dv, du, dw).

        dpre_a[..., t]     = a[..., t]*(sum[d](dy[..., d]*x[..., t, d]) - sum[d](dy[..., d]*y[..., d]))
        dg[..., t, l]      = w[l]*dpre_a[..., t]
        dpre_g2[..., t, l] = dg[..., t, l]*sigmoid_pre_g[..., t, l]*(1 - tanh_pre_g2[..., t, l]**2)
        dpre_g[..., t, l]  = dg[..., t, l]*g[..., t, l]*(1 - sigmoid_pre_g[..., t, l])
        dx[..., t, d]      = a[..., t]*dy[..., d] + sum[l](u[d, l]*dpre_g[..., t, l])
                             + sum[l](v[d, l]*dpre_g2[..., t, l])
        dv[d, l]           = sum[..., t](dpre_g2[..., t, l]*x[..., t, d])
        du[d, l]           = sum[..., t](dpre_g[..., t, l]*x[..., t, d])
        dw[l]              = sum[..., t](dpre_a[..., t]*g[..., t, l])

    dy: [..., D].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x, v, u, w, sigmoid_pre_g, tanh_pre_g2, g, a, y, dtypes = cache
    D = x.shape[-1]
    L = v.shape[1]
    dy = _cotangent("dy", dy, y.shape, np.result_type(*dtypes))
    dpre_a = a * (np.einsum("...td,...d->...t", x, dy) - (dy * y).sum(axis=-1, keepdims=True))
    dg = w * dpre_a[..., None]
    dpre_g2 = sigmoid_pre_g * dg * (1 - tanh_pre_g2 * tanh_pre_g2)
    dpre_g = g * dg * (1 - sigmoid_pre_g)
    dx = dy[..., None, :] * a[..., None] + dpre_g2 @ v.T + dpre_g @ u.T
    dv = x.reshape(-1, D).T @ dpre_g2.reshape(-1, L)
    du = x.reshape(-1, D).T @ dpre_g.reshape(-1, L)
    dw = dpre_a.reshape(-1) @ g.reshape(-1, L)
    return _into(out, Gradients(*map(np.asarray, (dx, dv, du, dw), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("...", "T", "D")),
    "v": ("Real", ("D", "L")),
    "u": ("Real", ("D", "L")),
    "w": ("Real", ("L",)),
}
_KINDS = {"Real": "f"}
# What is undefined where an axis has no elements.
_NONEMPTY = {
    "T": "softmax[t]",
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
