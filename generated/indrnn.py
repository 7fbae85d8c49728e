"""A recurrent network of relu units that each see their own past only.

    h_in[t, n, j] = sum[i](w[i, j]*x[t, n, i]) + b[j]
    h[-1, n, j]   = h0[n, j]; h[t, n, j] = relu(u[j]*h[t - 1, n, j] + h_in[t, n, j])

Source: Li, Li, Cook, Zhu & Gao, "Independently Recurrent Neural Network (IndRNN): Building a Longer and
Deeper
RNN", 2018.
"""

# Made by derive 0.1.0 from recurrence.layer. Do not edit: change the layer file and run
# `derive generate indrnn`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [T, N, I]
    w: np.ndarray  # [I, H]
    u: np.ndarray  # [H]
    h: np.ndarray  # [T + 1, N, H]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [T, N, I]
    dh0: np.ndarray  # [N, H]
    dw: np.ndarray  # [I, H]
    du: np.ndarray  # [H]
    db: np.ndarray  # [H]


def forward(x, h0, w, u, b):
    """Return (h, cache).

    x: [T, N, I]; h0: [N, H]; w: [I, H]; u, b: [H]; h: [T, N, H].
    Raises ValueError for another shape or kind.
    """
    x, h0, w, u, b = _expect(x, h0, w, u, b)
    dtype = np.result_type(x, h0, w, u, b)
    T, N, I = x.shape
    H = h0.shape[1]
    h_in = (x.reshape(T * N, I) @ w).reshape(T, N, H) + b
    h = np.empty((T + 1, N, H), dtype=dtype)
    h[0] = h0
    for t in range(T):
        h[t + 1] = np.maximum(h_in[t] + u * h[t], 0)
    dtypes = (x.dtype, h0.dtype, w.dtype, u.dtype, b.dtype)
    return h[1:], Cache(x, w, u, h, dtypes)


def backward(dh, cache):
    """Return Gradients(dx, dh0, dw, du, db).

        dpre_h[T, n, j] = 0; dpre_h[t, n, j] = (h[t, n, j] > 0)*(u[j]*dpre_h[t + 1, n, j] + dh[t, n, j])
        dx[t, n, i]     = sum[j](w[i, j]*dpre_h[t, n, j])
        dh0[n, j]       = u[j]*dpre_h[0, n, j]
        dw[i, j]        = sum[t, n](dpre_h[t, n, j]*x[t, n, i])
        du[j]           = sum[t, n](dpre_h[t, n, j]*h[t - 1, n, j])
        db[j]           = sum[t, n](dpre_h[t, n, j])

    dh: [T, N, H].
    Raises ValueError for another shape.
    """
    x, w, u, h, dtypes = cache
    T, N, I = x.shape
    H = w.shape[1]
    dh = _cotangent("dh", dh, (T, N, H), np.result_type(*dtypes))
    dpre_h = np.empty((T, N, H), dtype=dh.dtype)
    dpre_h_t = np.zeros((N, H), dtype=dh.dtype)
    for t in reversed(range(T)):
        dpre_h_t = (dh[t] + u * dpre_h_t) * (h[t + 1] > 0)
        dpre_h[t] = dpre_h_t
    dx = (dpre_h.reshape(T * N, H) @ w.T).reshape(T, N, I)
    dh0 = u * dpre_h_t
    dw = x.reshape(T * N, I).T @ dpre_h.reshape(T * N, H)
    du = (h[:-1] * dpre_h).sum(axis=(0, 1))
    db = dpre_h.sum(axis=(0, 1))
    return Gradients(*map(np.asarray, (dx, dh0, dw, du, db), dtypes))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("T", "N", "I")),
    "h0": ("Real", ("N", "H")),
    "w": ("Real", ("I", "H")),
    "u": ("Real", ("H",)),
    "b": ("Real", ("H",)),
}
_KINDS = {"Real": "f"}


def _expect(*inputs):
    """Return the inputs as arrays; ValueError for another kind or shape."""
    arrays = [np.asarray(value) for value in inputs]
    sizes = {}  # of every axis: its length, and the input it is from
    for k, (name, (kind, axes)) in enumerate(_INPUTS.items()):
        array, known = arrays[k], {axis: sizes[axis] for axis in axes if axis in sizes}
        if array.dtype.kind not in _KINDS[kind]:
            raise ValueError(f"{name}: expected {kind} elements, got {array.dtype}")
        shape = array.shape
        for axis, length in zip(axes, shape, strict=False):
            sizes.setdefault(axis, (length, f"{name} {array.shape}"))
        if shape != tuple(sizes[axis][0] for axis in axes if axis in sizes) or len(shape) != len(axes):
            raise ValueError(f"{name}: expected shape {_described(axes, known)}, got {array.shape}")
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
