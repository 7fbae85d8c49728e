"""A network of gated recurrent units.

The gates lie on the axis of 3 in PyTorch's order: reset, update, new.

    a[t, n, g, j] = sum[i](wx[i, g, j]*x[t, n, i]) + bx[g, j]
    c[t, n, g, j] = sum[k](h[t - 1, n, k]*wh[k, g, j]) + bh[g, j]
    r[t, n, j]    = sigmoid(a[t, n, 0, j] + c[t, n, 0, j])
    z[t, n, j]    = sigmoid(a[t, n, 1, j] + c[t, n, 1, j])
    u[t, n, j]    = tanh(r[t, n, j]*c[t, n, 2, j] + a[t, n, 2, j])
    h[-1, n, j]   = h0[n, j]; h[t, n, j] = u[t, n, j]*(1 - z[t, n, j]) + h[t - 1, n, j]*z[t, n, j]

Source: Cho et al., "Learning Phrase Representations Using RNN Encoder-Decoder for Statistical Machine
Translation", 2014.
"""

# Made by derive 0.1.0 from recurrence.layer. Do not edit: change the layer file and run
# `derive generate gru`.

from typing import NamedTuple

import numpy as np
from scipy.special import expit  # NumPy has none


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [T, N, I]
    wx: np.ndarray  # [I, 3, H]
    wh: np.ndarray  # [H, 3, H]
    c: np.ndarray  # [T, N, 3, H]
    r: np.ndarray  # [T, N, H]
    z: np.ndarray  # [T, N, H]
    u: np.ndarray  # [T, N, H]
    h: np.ndarray  # [T + 1, N, H]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [T, N, I]
    dh0: np.ndarray  # [N, H]
    dwx: np.ndarray  # [I, 3, H]
    dwh: np.ndarray  # [H, 3, H]
    dbx: np.ndarray  # [3, H]
    dbh: np.ndarray  # [3, H]


def forward(x, h0, wx, wh, bx, bh):
    """Return (h, cache).

    x: [T, N, I]; h0: [N, H]; wx: [I, 3, H]; wh: [H, 3, H]; bx, bh: [3, H]; h: [T, N, H].
    Raises ValueError for another shape or kind.
    """
    x, h0, wx, wh, bx, bh = _expect(x, h0, wx, wh, bx, bh)
    dtype = np.result_type(x, h0, wx, wh, bx, bh)
    T, N, I = x.shape
    H = h0.shape[1]
    a = (x.reshape(T * N, I) @ wx.reshape(I, 3 * H)).reshape(T, N, 3, H) + bx
    c = np.empty((T, N, 3, H), dtype=dtype)
    r = np.empty((T, N, H), dtype=dtype)
    z = np.empty((T, N, H), dtype=dtype)
    u = np.empty((T, N, H), dtype=dtype)
    h = np.empty((T + 1, N, H), dtype=dtype)
    h[0] = h0
    wh_matrix = wh.reshape(H, 3 * H)
    for t in range(T):
        c_t = (h[t] @ wh_matrix).reshape(N, 3, H) + bh
        c[t] = c_t
        r[t] = expit(a[t, :, 0] + c_t[:, 0])
        z_t = expit(a[t, :, 1] + c_t[:, 1])
        z[t] = z_t
        u[t] = np.tanh(a[t, :, 2] + c_t[:, 2] * r[t])
        h[t + 1] = u[t] * (1 - z_t) + z_t * h[t]
    dtypes = (x.dtype, h0.dtype, wx.dtype, wh.dtype, bx.dtype, bh.dtype)
    return h[1:], Cache(x, wx, wh, c, r, z, u, h, dtypes)


def backward(dh, cache, out=None):
    """Return Gradients(dx, dh0, dwx, dwh, dbx, dbh).

        dpre_u_factor[t, n, j] = (1 - u[t, n, j]**2)*(1 - z[t, n, j])
        dpre_z_factor[t, n, j] = z[t, n, j]*(1 - z[t, n, j])*(h[t - 1, n, j] - u[t, n, j])
        dpre_r_factor[t, n, j] = r[t, n, j]*c[t, n, 2, j]*(1 - r[t, n, j])
        dh_total[t, n, j]      = dh[t, n, j] + dh_next[t + 1, n, j]
        dpre_u[t, n, j]        = dh_total[t, n, j]*dpre_u_factor[t, n, j]
        dpre_z[t, n, j]        = dh_total[t, n, j]*dpre_z_factor[t, n, j]
        dpre_r[t, n, j]        = dpre_r_factor[t, n, j]*dpre_u[t, n, j]
        dc[t, n, g, j]         = delta(0, g)*dpre_r[t, n, j] + delta(1, g)*dpre_z[t, n, j] + delta(2, g)*
                                 dpre_u[t, n, j]*r[t, n, j]
        dh_next[T, n, j]       = 0; dh_next[t, n, j] = dh_total[t, n, j]*z[t, n, j]
                                 + sum[g, k](wh[j, g, k]*dc[t, n, g, k])
        da[t, n, g, j]         = delta(0, g)*dpre_r[t, n, j] + delta(1, g)*dpre_z[t, n, j] + delta(2, g)*
                                 dpre_u[t, n, j]
        dx[t, n, i]            = sum[g, j](wx[i, g, j]*da[t, n, g, j])
        dh0[n, j]              = dh_next[0, n, j]
        dwx[i, g, j]           = sum[t, n](x[t, n, i]*da[t, n, g, j])
        dwh[k, g, j]           = sum[t, n](h[t - 1, n, k]*dc[t, n, g, j])
        dbx[g, j]              = sum[t, n](da[t, n, g, j])
        dbh[g, j]              = sum[t, n](dc[t, n, g, j])

    dh: [T, N, H].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x, wx, wh, c, r, z, u, h, dtypes = cache
    T, N, I = x.shape
    H = wx.shape[2]
    dh = _cotangent("dh", dh, r.shape, np.result_type(*dtypes))
    one_minus_z = 1 - z
    dpre_u_factor = one_minus_z * (1 - u * u)
    dpre_z_factor = z * one_minus_z * (h[:-1] - u)
    dpre_r_factor = c[:, :, 2] * r * (1 - r)
    dpre_u = np.empty(r.shape, dtype=dh.dtype)
    dpre_z = np.empty(r.shape, dtype=dh.dtype)
    dpre_r = np.empty(r.shape, dtype=dh.dtype)
    dc = np.empty(c.shape, dtype=dh.dtype)
    dh_next = np.zeros((N, H), dtype=dh.dtype)
    wh_matrix = wh.reshape(H, 3 * H)
    for t in reversed(range(T)):
        dh_total = dh[t] + dh_next
        dpre_u_t = dpre_u_factor[t] * dh_total
        dpre_u[t] = dpre_u_t
        dpre_z[t] = dpre_z_factor[t] * dh_total
        dpre_r[t] = dpre_r_factor[t] * dpre_u_t
        dc[t, :, 0] = dpre_r[t]
        dc[t, :, 1] = dpre_z[t]
        dc[t, :, 2] = r[t] * dpre_u_t
        dh_next = dc[t].reshape(N, 3 * H) @ wh_matrix.T + z[t] * dh_total
    da = np.zeros(c.shape, dtype=dh.dtype)
    da[:, :, 0] = dpre_r
    da[:, :, 1] = dpre_z
    da[:, :, 2] = dpre_u
    dx = (da.reshape(T * N, 3 * H) @ wx.reshape(I, 3 * H).T).reshape(T, N, I)
    dh0 = dh_next
    dwx = (x.reshape(T * N, I).T @ da.reshape(T * N, 3 * H)).reshape(I, 3, H)
    dwh = (h[:-1].reshape(T * N, H).T @ dc.reshape(T * N, 3 * H)).reshape(H, 3, H)
    dbx = da.sum(axis=(0, 1))
    dbh = dc.sum(axis=(0, 1))
    return _into(out, Gradients(*map(np.asarray, (dx, dh0, dwx, dwh, dbx, dbh), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("T", "N", "I")),
    "h0": ("Real", ("N", "H")),
    "wx": ("Real", ("I", 3, "H")),
    "wh": ("Real", ("H", 3, "H")),
    "bx": ("Real", (3, "H")),
    "bh": ("Real", (3, "H")),
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
