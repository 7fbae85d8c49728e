"""A simple recurrent network on sequences of different lengths: where the mask is false a state stays as it is.

    u_in[t, n, j] = sum[i](wx[i, j]*x[t, n, i]) + bh[j] + bx[j]
    u[t, n, j]    = tanh(u_in[t, n, j] + sum[k](wh[k, j]*h[t - 1, n, k]))
    h[-1, n, j]   = h0[n, j]; h[t, n, j] = where(mask[t, n], u[t, n, j], h[t - 1, n, j])

Source: Elman, "Finding Structure in Time", 1990.
"""

# Made by derive 0.1.0 from recurrence.layer. Do not edit: change the layer file and run
# `derive generate masked_rnn`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [T, N, I]
    mask: np.ndarray  # [T, N]
    wx: np.ndarray  # [I, H]
    wh: np.ndarray  # [H, H]
    u: np.ndarray  # [T, N, H]
    h: np.ndarray  # [T + 1, N, H]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [T, N, I]
    dh0: np.ndarray  # [N, H]
    dwx: np.ndarray  # [I, H]
    dwh: np.ndarray  # [H, H]
    dbx: np.ndarray  # [H]
    dbh: np.ndarray  # [H]


def forward(x, mask, h0, wx, wh, bx, bh):
    """Return (h, cache).

    x: [T, N, I]; mask: [T, N] booleans; h0: [N, H]; wx: [I, H]; wh: [H, H]; bx, bh: [H]; h:
    [T, N, H].
    Raises ValueError for another shape or kind.
    """
    x, mask, h0, wx, wh, bx, bh = _expect(x, mask, h0, wx, wh, bx, bh)
    dtype = np.result_type(x, h0, wx, wh, bx, bh)
    T, N, I = x.shape
    H = h0.shape[1]
    u_in = (x.reshape(T * N, I) @ wx).reshape(T, N, H) + bx + bh
    u = np.empty((T, N, H), dtype=dtype)
    h = np.empty((T + 1, N, H), dtype=dtype)
    h[0] = h0
    for t in range(T):
        u[t] = np.tanh(u_in[t] + h[t] @ wh)
        h[t + 1] = np.where(mask[t, :, None], u[t], h[t])
    dtypes = (x.dtype, h0.dtype, wx.dtype, wh.dtype, bx.dtype, bh.dtype)
    return h[1:], Cache(x, mask, wx, wh, u, h, dtypes)


def backward(dh, cache, out=None):
    """Return Gradients(dx, dh0, dwx, dwh, dbx, dbh).

        dpre_u_factor[t, n, j] = where(mask[t, n], 1, 0)*(1 - u[t, n, j]**2)
        dh_next_factor[t, n]   = where(mask[t, n], 0, 1)
        dh_total[t, n, j]      = dh[t, n, j] + dh_next[t + 1, n, j]
        dpre_u[t, n, j]        = dh_total[t, n, j]*dpre_u_factor[t, n, j]
        dh_next[T, n, j]       = 0; dh_next[t, n, j] = dh_next_factor[t, n]*dh_total[t, n, j]
                                 + sum[k](wh[j, k]*dpre_u[t, n, k])
        dx[t, n, i]            = sum[j](wx[i, j]*dpre_u[t, n, j])
        dh0[n, j]              = dh_next[0, n, j]
        dwx[i, j]              = sum[t, n](dpre_u[t, n, j]*x[t, n, i])
        dwh[k, j]              = sum[t, n](dpre_u[t, n, j]*h[t - 1, n, k])
        dbx[j]                 = sum[t, n](dpre_u[t, n, j])
        dbh[j]                 = dbx[j]

    dh: [T, N, H].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x, mask, wx, wh, u, h, dtypes = cache
    T, N, I = x.shape
    H = wx.shape[1]
    dh = _cotangent("dh", dh, u.shape, np.result_type(*dtypes))
    dpre_u_factor = (1 - u * u) * mask[:, :, None]
    dh_next_factor = np.where(mask, 0, 1).astype(dh.dtype)
    dpre_u = np.empty(u.shape, dtype=dh.dtype)
    dh_next = np.zeros((N, H), dtype=dh.dtype)
    for t in reversed(range(T)):
        dh_total = dh[t] + dh_next
        dpre_u[t] = dpre_u_factor[t] * dh_total
        dh_next = dpre_u[t] @ wh.T + dh_next_factor[t, :, None] * dh_total
    dx = (dpre_u.reshape(T * N, H) @ wx.T).reshape(T, N, I)
    dh0 = dh_next
    dwx = x.reshape(T * N, I).T @ dpre_u.reshape(T * N, H)
    dwh = h[:-1].reshape(T * N, H).T @ dpre_u.reshape(T * N, H)
    dbx = dpre_u.sum(axis=(0, 1))
    dbh = dbx.copy()
    return _into(out, Gradients(*map(np.asarray, (dx, dh0, dwx, dwh, dbx, dbh), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("T", "N", "I")),
    "mask": ("Bool", ("T", "N")),
    "h0": ("Real", ("N", "H")),
    "wx": ("Real", ("I", "H")),
    "wh": ("Real", ("H", "H")),
    "bx": ("Real", ("H",)),
    "bh": ("Real", ("H",)),
}
_KINDS = {"Real": "f", "Bool": "b"}


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
