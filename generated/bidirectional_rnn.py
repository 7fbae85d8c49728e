"""A simple recurrent network that reads forwards and one that reads backwards; their states lie on the axis of
2.

    f_in[t, n, j] = sum[i](wx[0, i, j]*x[t, n, i]) + bh[0, j] + bx[0, j]
    f[-1, n, j]   = h0[0, n, j]; f[t, n, j] = tanh(f_in[t, n, j] + sum[k](wh[0, k, j]*f[t - 1, n, k]))
    b_in[s, n, j] = sum[i](wx[1, i, j]*x[T - 1 - s, n, i]) + bh[1, j] + bx[1, j]
    b[-1, n, j]   = h0[1, n, j]; b[s, n, j] = tanh(b_in[s, n, j] + sum[k](wh[1, k, j]*b[s - 1, n, k]))
    y[t, n, d, j] = where(d == 0, f[t, n, j], b[T - 1 - t, n, j])

Source: Schuster & Paliwal, "Bidirectional Recurrent Neural Networks", 1997.
"""

# Made by derive 0.1.0 from recurrence.layer. Do not edit: change the layer file and run
# `derive generate bidirectional_rnn`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [T, N, I]
    wx: np.ndarray  # [2, I, H]
    wh: np.ndarray  # [2, H, H]
    f: np.ndarray  # [T + 1, N, H]
    b: np.ndarray  # [T + 1, N, H]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [T, N, I]
    dh0: np.ndarray  # [2, N, H]
    dwx: np.ndarray  # [2, I, H]
    dwh: np.ndarray  # [2, H, H]
    dbx: np.ndarray  # [2, H]
    dbh: np.ndarray  # [2, H]


def forward(x, h0, wx, wh, bx, bh):
    """Return (y, cache).

    x: [T, N, I]; h0: [2, N, H]; wx: [2, I, H]; wh: [2, H, H]; bx, bh: [2, H]; y: [T, N, 2,
    H].
    Raises ValueError for another shape or kind.
    """
    x, h0, wx, wh, bx, bh = _expect(x, h0, wx, wh, bx, bh)
    dtype = np.result_type(x, h0, wx, wh, bx, bh)
    T, N, I = x.shape
    H = h0.shape[2]
    f_in = (x.reshape(T * N, I) @ wx[0]).reshape(T, N, H) + bx[0] + bh[0]
    f = np.empty((T + 1, N, H), dtype=dtype)
    f[0] = h0[0]
    for t in range(T):
        f[t + 1] = np.tanh(f_in[t] + f[t] @ wh[0])
    b_in = (x[::-1].reshape(T * N, I) @ wx[1]).reshape(T, N, H) + bx[1] + bh[1]
    b = np.empty((T + 1, N, H), dtype=dtype)
    b[0] = h0[1]
    for s in range(T):
        b[s + 1] = np.tanh(b_in[s] + b[s] @ wh[1])
    y = np.where((np.arange(2) == 0)[:, None], f[1:][:, :, None, :], b[1:][::-1, :, None, :])
    dtypes = (x.dtype, h0.dtype, wx.dtype, wh.dtype, bx.dtype, bh.dtype)
    return y, Cache(x, wx, wh, f, b, dtypes)


def backward(dy, cache, out=None):
    """Return Gradients(dx, dh0, dwx, dwh, dbx, dbh).

        dpre_b_factor[s, n, j] = 1 - b[s, n, j]**2
        dpre_b[s, n, j]        = dpre_b_factor[s, n, j]*(db_next[s + 1, n, j] + dy[T - 1 - s, n, 1, j])
        db_next[T, n, j]       = 0; db_next[s, n, j] = sum[k](wh[1, j, k]*dpre_b[s, n, k])
        dpre_f_factor[t, n, j] = 1 - f[t, n, j]**2
        dpre_f[t, n, j]        = dpre_f_factor[t, n, j]*(df_next[t + 1, n, j] + dy[t, n, 0, j])
        df_next[T, n, j]       = 0; df_next[t, n, j] = sum[k](wh[0, j, k]*dpre_f[t, n, k])
        dx[t, n, i]            = sum[j](wx[1, i, j]*dpre_b[T - 1 - t, n, j]) + sum[j](wx[0, i, j]*dpre_f[t, n, j])
        dh0[i, n, j]           = delta(0, i)*df_next[0, n, j] + delta(1, i)*db_next[0, n, j]
        dwx[k, i, j]           = delta(0, k)*sum[t, n](dpre_f[t, n, j]*x[t, n, i]) + delta(1, k)*
                                 sum[s, n](dpre_b[s, n, j]*x[T - 1 - s, n, i])
        dwh[i, k, j]           = delta(0, i)*sum[t, n](dpre_f[t, n, j]*f[t - 1, n, k]) + delta(1, i)*
                                 sum[s, n](b[s - 1, n, k]*dpre_b[s, n, j])
        dbx[i, j]              = delta(0, i)*sum[t, n](dpre_f[t, n, j]) + delta(1, i)*sum[s, n](dpre_b[s, n, j])
        dbh[i, j]              = delta(0, i)*sum[t, n](dpre_f[t, n, j]) + delta(1, i)*sum[s, n](dpre_b[s, n, j])

    dy: [T, N, 2, H].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x, wx, wh, f, b, dtypes = cache
    T, N, I = x.shape
    H = wx.shape[2]
    dy = _cotangent("dy", dy, (T, N, 2, H), np.result_type(*dtypes))
    dpre_b_factor = 1 - np.square(b[1:])
    dpre_b = np.empty((T, N, H), dtype=dy.dtype)
    db_next = np.zeros((N, H), dtype=dy.dtype)
    for s in reversed(range(T)):
        dpre_b[s] = dpre_b_factor[s] * (dy[T - s - 1, :, 1] + db_next)
        db_next = dpre_b[s] @ wh[1].T
    dpre_f_factor = 1 - np.square(f[1:])
    dpre_f = np.empty((T, N, H), dtype=dy.dtype)
    df_next = np.zeros((N, H), dtype=dy.dtype)
    for t in reversed(range(T)):
        dpre_f[t] = dpre_f_factor[t] * (dy[t, :, 0] + df_next)
        df_next = dpre_f[t] @ wh[0].T
    dx = (dpre_b[::-1].reshape(T * N, H) @ wx[1].T).reshape(T, N, I)
    dx = dx + (dpre_f.reshape(T * N, H) @ wx[0].T).reshape(T, N, I)
    dh0 = np.zeros((2, N, H), dtype=dy.dtype)
    dh0[0] = df_next
    dh0[1] = db_next
    dwx = np.zeros(wx.shape, dtype=dy.dtype)
    dwx[0] = x.reshape(T * N, I).T @ dpre_f.reshape(T * N, H)
    dwx[1] = x[::-1].reshape(T * N, I).T @ dpre_b.reshape(T * N, H)
    dwh = np.zeros(wh.shape, dtype=dy.dtype)
    dwh[0] = f[:-1].reshape(T * N, H).T @ dpre_f.reshape(T * N, H)
    dwh[1] = b[:-1].reshape(T * N, H).T @ dpre_b.reshape(T * N, H)
    dbx = np.zeros((2, H), dtype=dy.dtype)
    sum_dpre_f = dpre_f.sum(axis=(0, 1))
    dbx[0] = sum_dpre_f
    sum_dpre_b = dpre_b.sum(axis=(0, 1))
    dbx[1] = sum_dpre_b
    dbh = np.zeros((2, H), dtype=dy.dtype)
    dbh[0] = sum_dpre_f
    dbh[1] = sum_dpre_b
    return _into(out, Gradients(*map(np.asarray, (dx, dh0, dwx, dwh, dbx, dbh), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("T", "N", "I")),
    "h0": ("Real", (2, "N", "H")),
    "wx": ("Real", (2, "I", "H")),
    "wh": ("Real", (2, "H", "H")),
    "bx": ("Real", (2, "H")),
    "bh": ("Real", (2, "H")),
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
            sizes.setdefault(axis, (axis if isinstance(axis, int) else length, f"{name} {array.shape}"))
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
