"""One step of long short-term memory; returns the next hidden state and the next cell state.

The gates lie on the axis of 4 in PyTorch's order: input, forget, cell, output.

    a[..., m, j]        = sum[k](h[..., k]*wh[k, m, j]) + sum[d](x[..., d]*wx[d, m, j]) + bh[m, j] + bx[m, j]
    i[..., j]           = sigmoid(a[..., 0, j])
    f[..., j]           = sigmoid(a[..., 1, j])
    g[..., j]           = tanh(a[..., 2, j])
    o[..., j]           = sigmoid(a[..., 3, j])
    c_next[..., j]      = c[..., j]*f[..., j] + g[..., j]*i[..., j]
    tanh_c_next[..., j] = tanh(c_next[..., j])
    h_next[..., j]      = o[..., j]*tanh_c_next[..., j]

Source: Hochreiter & Schmidhuber, "Long Short-Term Memory", 1997; Gers, Schmidhuber & Cummins, "Learning
to Forget: Continual Prediction with LSTM", 2000.
"""

# Made by derive 0.1.0 from recurrent_cells.layer. Do not edit: change the layer file and run
# `derive generate lstm_cell`.

from typing import NamedTuple

import numpy as np
from scipy.special import expit  # NumPy has none


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [..., I]
    h: np.ndarray  # [..., H]
    c: np.ndarray  # [..., H]
    wx: np.ndarray  # [I, 4, H]
    wh: np.ndarray  # [H, 4, H]
    i: np.ndarray  # [..., H]
    f: np.ndarray  # [..., H]
    g: np.ndarray  # [..., H]
    o: np.ndarray  # [..., H]
    tanh_c_next: np.ndarray  # [..., H]
    h_next: np.ndarray  # [..., H]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [..., I]
    dh: np.ndarray  # [..., H]
    dc: np.ndarray  # [..., H]
    dwx: np.ndarray  # [I, 4, H]
    dwh: np.ndarray  # [H, 4, H]
    dbx: np.ndarray  # [4, H]
    dbh: np.ndarray  # [4, H]


def forward(x, h, c, wx, wh, bx, bh):
    """Return ((h_next, c_next), cache).

    x: [..., I]; h, c, h_next, c_next: [..., H]; wx: [I, 4, H]; wh: [H, 4, H]; bx, bh: [4,
    H].
    Raises ValueError for another shape or kind.
    """
    x, h, c, wx, wh, bx, bh = _expect(x, h, c, wx, wh, bx, bh)
    a = np.tensordot(x, wx, axes=1) + np.tensordot(h, wh, axes=1) + bx + bh
    i = expit(a[..., 0, :])
    f = expit(a[..., 1, :])
    g = np.tanh(a[..., 2, :])
    o = expit(a[..., 3, :])
    c_next = c * f + i * g
    tanh_c_next = np.tanh(c_next)
    h_next = o * tanh_c_next
    dtypes = (x.dtype, h.dtype, c.dtype, wx.dtype, wh.dtype, bx.dtype, bh.dtype)
    return (h_next, c_next), Cache(x, h, c, wx, wh, i, f, g, o, tanh_c_next, h_next, dtypes)


def backward(dh_next, dc_next, cache, out=None):
    """Return Gradients(dx, dh, dc, dwx, dwh, dbx, dbh).

        dc_next_total[..., j] = dh_next[..., j]*o[..., j]*(1 - tanh_c_next[..., j]**2) + dc_next[..., j]
        dg[..., j]            = dc_next_total[..., j]*i[..., j]
        dc[..., j]            = dc_next_total[..., j]*f[..., j]
        da[..., m, j]         = delta(2, m)*dg[..., j]*(1 - g[..., j]**2) + delta(1, m)*c[..., j]*dc[..., j]*
                                (1 - f[..., j]) + delta(0, m)*dg[..., j]*g[..., j]*(1 - i[..., j]) + delta(3, m)*
                                dh_next[..., j]*h_next[..., j]*(1 - o[..., j])
        dx[..., d]            = sum[m, j](da[..., m, j]*wx[d, m, j])
        dh[..., k]            = sum[m, j](da[..., m, j]*wh[k, m, j])
        dwx[d, m, j]          = sum[...](x[..., d]*da[..., m, j])
        dwh[k, m, j]          = sum[...](h[..., k]*da[..., m, j])
        dbx[m, j]             = sum[...](da[..., m, j])
        dbh[m, j]             = dbx[m, j]

    dh_next, dc_next: [..., H].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x, h, c, wx, wh, i, f, g, o, tanh_c_next, h_next, dtypes = cache
    *batch, I = x.shape
    H = h.shape[-1]
    dh_next = _cotangent("dh_next", dh_next, h.shape, np.result_type(*dtypes))
    dc_next = _cotangent("dc_next", dc_next, h.shape, np.result_type(*dtypes))
    dc_next_total = dc_next + dh_next * o * (1 - tanh_c_next * tanh_c_next)
    dg = i * dc_next_total
    dc = f * dc_next_total
    da = np.zeros((*batch, 4, H), dtype=dh_next.dtype)
    da[..., 0, :] = g * dg * (1 - i)
    da[..., 1, :] = c * dc * (1 - f)
    da[..., 2, :] = dg * (1 - g * g)
    da[..., 3, :] = dh_next * h_next * (1 - o)
    dx = np.einsum("...mj,dmj->...d", da, wx, optimize=True)
    dh = np.einsum("...mj,kmj->...k", da, wh, optimize=True)
    dwx = np.einsum("bd,bmj->dmj", x.reshape(-1, I), da.reshape(-1, 4, H), optimize=True)
    dwh = np.einsum("bk,bmj->kmj", h.reshape(-1, H), da.reshape(-1, 4, H), optimize=True)
    dbx = da.sum(axis=tuple(range(da.ndim - 2)))
    dbh = dbx.copy()
    return _into(out, Gradients(*map(np.asarray, (dx, dh, dc, dwx, dwh, dbx, dbh), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("...", "I")),
    "h": ("Real", ("...", "H")),
    "c": ("Real", ("...", "H")),
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
        shape, batch = array.shape, array.ndim - len(axes) + 1
        if axes[:1] == ("...",) and batch >= 0:
            shape = (shape[:batch], *shape[batch:])
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
