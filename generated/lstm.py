"""Long short-term memory; returns the hidden states and the cell states.

The gates lie on the axis of 4 in PyTorch's order: input, forget, cell, output.

    a_in[t, n, m, j] = sum[d](wx[d, m, j]*x[t, n, d]) + bh[m, j] + bx[m, j]
    a[t, n, m, j]    = a_in[t, n, m, j] + sum[k](h[t - 1, n, k]*wh[k, m, j])
    i[t, n, j]       = sigmoid(a[t, n, 0, j])
    f[t, n, j]       = sigmoid(a[t, n, 1, j])
    g[t, n, j]       = tanh(a[t, n, 2, j])
    o[t, n, j]       = sigmoid(a[t, n, 3, j])
    c[-1, n, j]      = c0[n, j]; c[t, n, j] = c[t - 1, n, j]*f[t, n, j] + g[t, n, j]*i[t, n, j]
    tanh_c[t, n, j]  = tanh(c[t, n, j])
    h[-1, n, j]      = h0[n, j]; h[t, n, j] = o[t, n, j]*tanh_c[t, n, j]

Source: Hochreiter & Schmidhuber, "Long Short-Term Memory", 1997; Gers, Schmidhuber & Cummins, "Learning
to Forget: Continual Prediction with LSTM", 2000.
"""

# Made by derive 0.1.0 from recurrence.layer. Do not edit: change the layer file and run
# `derive generate lstm`.

from typing import NamedTuple

import numpy as np
from scipy.special import expit  # NumPy has none


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [T, N, I]
    wx: np.ndarray  # [I, 4, H]
    wh: np.ndarray  # [H, 4, H]
    i: np.ndarray  # [T, N, H]
    f: np.ndarray  # [T, N, H]
    g: np.ndarray  # [T, N, H]
    o: np.ndarray  # [T, N, H]
    c: np.ndarray  # [T + 1, N, H]
    tanh_c: np.ndarray  # [T, N, H]
    h: np.ndarray  # [T + 1, N, H]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [T, N, I]
    dh0: np.ndarray  # [N, H]
    dc0: np.ndarray  # [N, H]
    dwx: np.ndarray  # [I, 4, H]
    dwh: np.ndarray  # [H, 4, H]
    dbx: np.ndarray  # [4, H]
    dbh: np.ndarray  # [4, H]


def forward(x, h0, c0, wx, wh, bx, bh):
    """Return ((h, c), cache).

    x: [T, N, I]; h0, c0: [N, H]; wx: [I, 4, H]; wh: [H, 4, H]; bx, bh: [4, H]; h, c: [T, N,
    H].
    Raises ValueError for another shape or kind.
    """
    x, h0, c0, wx, wh, bx, bh = _expect(x, h0, c0, wx, wh, bx, bh)
    dtype = np.result_type(x, h0, c0, wx, wh, bx, bh)
    T, N, I = x.shape
    H = h0.shape[1]
    a_in = (x.reshape(T * N, I) @ wx.reshape(I, 4 * H)).reshape(T, N, 4, H) + bx + bh
    i = np.empty((T, N, H), dtype=dtype)
    f = np.empty((T, N, H), dtype=dtype)
    g = np.empty((T, N, H), dtype=dtype)
    o = np.empty((T, N, H), dtype=dtype)
    c = np.empty((T + 1, N, H), dtype=dtype)
    tanh_c = np.empty((T, N, H), dtype=dtype)
    h = np.empty((T + 1, N, H), dtype=dtype)
    c[0] = c0
    h[0] = h0
    wh_matrix = wh.reshape(H, 4 * H)
    for t in range(T):
        a = a_in[t] + (h[t] @ wh_matrix).reshape(N, 4, H)
        i[t] = expit(a[:, 0])
        f[t] = expit(a[:, 1])
        g[t] = np.tanh(a[:, 2])
        o[t] = expit(a[:, 3])
        c[t + 1] = i[t] * g[t] + f[t] * c[t]
        tanh_c[t] = np.tanh(c[t + 1])
        h[t + 1] = o[t] * tanh_c[t]
    dtypes = (x.dtype, h0.dtype, c0.dtype, wx.dtype, wh.dtype, bx.dtype, bh.dtype)
    return (h[1:], c[1:]), Cache(x, wx, wh, i, f, g, o, c, tanh_c, h, dtypes)


def backward(dh, dc, cache, out=None):
    """Return Gradients(dx, dh0, dc0, dwx, dwh, dbx, dbh).

        dc_total_factor[t, n, j] = 1 - tanh_c[t, n, j]**2
        da_factor[t, n, j]       = 1 - g[t, n, j]**2
        da_factor2[t, n, j]      = c[t - 1, n, j]*(1 - f[t, n, j])
        da_factor3[t, n, j]      = g[t, n, j]*(1 - i[t, n, j])
        da_factor4[t, n, j]      = tanh_c[t, n, j]*(1 - o[t, n, j])
        dh_total[t, n, j]        = dh[t, n, j] + dh_next[t + 1, n, j]
        dtanh_c[t, n, j]         = dh_total[t, n, j]*o[t, n, j]
        dc_total[t, n, j]        = dc_total_factor[t, n, j]*dtanh_c[t, n, j] + dc[t, n, j] + dc_next[t + 1, n, j]
        dg[t, n, j]              = dc_total[t, n, j]*i[t, n, j]
        dc_next[T, n, j]         = 0; dc_next[t, n, j] = dc_total[t, n, j]*f[t, n, j]
        da[t, n, m, j]           = delta(0, m)*da_factor3[t, n, j]*dg[t, n, j] + delta(1, m)*da_factor2[t, n, j]*
                                   dc_next[t, n, j] + delta(2, m)*da_factor[t, n, j]*dg[t, n, j] + delta(3, m)*
                                   da_factor4[t, n, j]*dtanh_c[t, n, j]
        dh_next[T, n, j]         = 0; dh_next[t, n, j] = sum[m, k](wh[j, m, k]*da[t, n, m, k])
        dx[t, n, d]              = sum[m, j](wx[d, m, j]*da[t, n, m, j])
        dh0[n, j]                = dh_next[0, n, j]
        dc0[n, j]                = dc_next[0, n, j]
        dwx[d, m, j]             = sum[t, n](x[t, n, d]*da[t, n, m, j])
        dwh[k, m, j]             = sum[t, n](h[t - 1, n, k]*da[t, n, m, j])
        dbx[m, j]                = sum[t, n](da[t, n, m, j])
        dbh[m, j]                = dbx[m, j]

    dh, dc: [T, N, H].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x, wx, wh, i, f, g, o, c, tanh_c, h, dtypes = cache
    T, N, I = x.shape
    H = wx.shape[2]
    dh = _cotangent("dh", dh, i.shape, np.result_type(*dtypes))
    dc = _cotangent("dc", dc, i.shape, np.result_type(*dtypes))
    dc_total_factor = 1 - tanh_c * tanh_c
    da_factor = 1 - g * g
    da_factor2 = c[:-1] * (1 - f)
    da_factor3 = g * (1 - i)
    da_factor4 = tanh_c * (1 - o)
    da = np.empty((T, N, 4, H), dtype=dh.dtype)
    dc_next = np.zeros((N, H), dtype=dh.dtype)
    dh_next = np.zeros((N, H), dtype=dh.dtype)
    wh_matrix = wh.reshape(H, 4 * H)
    for t in reversed(range(T)):
        dh_total = dh[t] + dh_next
        dtanh_c = o[t] * dh_total
        dc_total = dc[t] + dc_next + dc_total_factor[t] * dtanh_c
        dg = i[t] * dc_total
        dc_next = f[t] * dc_total
        da[t, :, 0] = da_factor3[t] * dg
        da[t, :, 1] = da_factor2[t] * dc_next
        da[t, :, 2] = da_factor[t] * dg
        da[t, :, 3] = da_factor4[t] * dtanh_c
        dh_next = da[t].reshape(N, 4 * H) @ wh_matrix.T
    dx = (da.reshape(T * N, 4 * H) @ wx.reshape(I, 4 * H).T).reshape(T, N, I)
    dh0 = dh_next
    dc0 = dc_next
    dwx = (x.reshape(T * N, I).T @ da.reshape(T * N, 4 * H)).reshape(I, 4, H)
    dwh = (h[:-1].reshape(T * N, H).T @ da.reshape(T * N, 4 * H)).reshape(H, 4, H)
    dbx = da.sum(axis=(0, 1))
    dbh = dbx.copy()
    return _into(out, Gradients(*map(np.asarray, (dx, dh0, dc0, dwx, dwh, dbx, dbh), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("T", "N", "I")),
    "h0": ("Real", ("N", "H")),
    "c0": ("Real", ("N", "H")),
    "wx": ("Real", ("I", 4, "H")),
    "wh": ("Real", ("H", 4, "H")),
    "bx": ("Real", (4, "H")),
    "bh": ("Real", (4, "H")),
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
