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


def backward(dh, cache, out=None):
    """Return Gradients(dx, dh0, dw, du, db).

        dpre_h[T, n, j] = 0; dpre_h[t, n, j] = (h[t, n, j] > 0)*(u[j]*dpre_h[t + 1, n, j] + dh[t, n, j])
        dx[t, n, i]     = sum[j](w[i, j]*dpre_h[t, n, j])
        dh0[n, j]       = u[j]*dpre_h[0, n, j]
        dw[i, j]        = sum[t, n](dpre_h[t, n, j]*x[t, n, i])
        du[j]           = sum[t, n](dpre_h[t, n, j]*h[t - 1, n, j])
        db[j]           = sum[t, n](dpre_h[t, n, j])

    dh: [T, N, H].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
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
    return _into(out, Gradients(*map(np.asarray, (dx, dh0, dw, du, db), dtypes)))


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
