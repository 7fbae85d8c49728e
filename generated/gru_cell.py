"""One step of a gated recurrent unit; returns the next hidden state.

The gates lie on the axis of 3 in PyTorch's order: reset, update, new.

    a[..., g, j]   = sum[i](x[..., i]*wx[i, g, j]) + bx[g, j]
    c[..., g, j]   = sum[k](h[..., k]*wh[k, g, j]) + bh[g, j]
    r[..., j]      = sigmoid(a[..., 0, j] + c[..., 0, j])
    z[..., j]      = sigmoid(a[..., 1, j] + c[..., 1, j])
    n[..., j]      = tanh(r[..., j]*c[..., 2, j] + a[..., 2, j])
    h_next[..., j] = n[..., j]*(1 - z[..., j]) + h[..., j]*z[..., j]

Source: Cho et al., "Learning Phrase Representations Using RNN Encoder-Decoder for Statistical Machine
Translation", 2014.
"""

# Made by derive 0.1.0 from recurrent_cells.layer. Do not edit: change the layer file and run
# `derive generate gru_cell`.

from typing import NamedTuple

import numpy as np
from scipy.special import expit  # NumPy has none


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [..., I]
    h: np.ndarray  # [..., H]
    wx: np.ndarray  # [I, 3, H]
    wh: np.ndarray  # [H, 3, H]
    c: np.ndarray  # [..., 3, H]
    r: np.ndarray  # [..., H]
    z: np.ndarray  # [..., H]
    n: np.ndarray  # [..., H]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [..., I]
    dh: np.ndarray  # [..., H]
    dwx: np.ndarray  # [I, 3, H]
    dwh: np.ndarray  # [H, 3, H]
    dbx: np.ndarray  # [3, H]
    dbh: np.ndarray  # [3, H]


def forward(x, h, wx, wh, bx, bh):
    """Return (h_next, cache).

    x: [..., I]; h, h_next: [..., H]; wx: [I, 3, H]; wh: [H, 3, H]; bx, bh: [3, H].
    Raises ValueError for another shape or kind.
    """
    x, h, wx, wh, bx, bh = _expect(x, h, wx, wh, bx, bh)
    a = np.tensordot(x, wx, axes=1) + bx
    c = np.tensordot(h, wh, axes=1) + bh
    r = expit(a[..., 0, :] + c[..., 0, :])
    z = expit(a[..., 1, :] + c[..., 1, :])
    n = np.tanh(a[..., 2, :] + c[..., 2, :] * r)
    h_next = h * z + n * (1 - z)
    dtypes = (x.dtype, h.dtype, wx.dtype, wh.dtype, bx.dtype, bh.dtype)
    return h_next, Cache(x, h, wx, wh, c, r, z, n, dtypes)


def backward(dh_next, cache, out=None):
    """Return Gradients(dx, dh, dwx, dwh, dbx, dbh).

        dpre_n[..., j] = dh_next[..., j]*(1 - n[..., j]**2)*(1 - z[..., j])
        dpre_z[..., j] = dh_next[..., j]*z[..., j]*(1 - z[..., j])*(h[..., j] - n[..., j])
        dpre_r[..., j] = dpre_n[..., j]*r[..., j]*c[..., 2, j]*(1 - r[..., j])
        dc[..., g, j]  = delta(0, g)*dpre_r[..., j] + delta(1, g)*dpre_z[..., j] + delta(2, g)*dpre_n[..., j]*
                         r[..., j]
        da[..., g, j]  = delta(0, g)*dpre_r[..., j] + delta(1, g)*dpre_z[..., j] + delta(2, g)*dpre_n[..., j]
        dx[..., i]     = sum[g, j](da[..., g, j]*wx[i, g, j])
        dh[..., k]     = dh_next[..., k]*z[..., k] + sum[g, j](dc[..., g, j]*wh[k, g, j])
        dwx[i, g, j]   = sum[...](x[..., i]*da[..., g, j])
        dwh[k, g, j]   = sum[...](h[..., k]*dc[..., g, j])
        dbx[g, j]      = sum[...](da[..., g, j])
        dbh[g, j]      = sum[...](dc[..., g, j])

    dh_next: [..., H].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x, h, wx, wh, c, r, z, n, dtypes = cache
    I = x.shape[-1]
    H = h.shape[-1]
    dh_next = _cotangent("dh_next", dh_next, h.shape, np.result_type(*dtypes))
    one_minus_z = 1 - z
    dpre_n = dh_next * one_minus_z * (1 - n * n)
    dh_next_times_z = dh_next * z
    dpre_z = dh_next_times_z * (h - n) * one_minus_z
    dpre_r = c[..., 2, :] * r * dpre_n * (1 - r)
    dc = np.zeros(c.shape, dtype=dh_next.dtype)
    dc[..., 0, :] = dpre_r
    dc[..., 1, :] = dpre_z
    dc[..., 2, :] = r * dpre_n
    da = np.zeros(c.shape, dtype=dh_next.dtype)
    da[..., 0, :] = dpre_r
    da[..., 1, :] = dpre_z
    da[..., 2, :] = dpre_n
    dx = np.einsum("...gj,igj->...i", da, wx, optimize=True)
    dh = dh_next_times_z + np.einsum("...gj,kgj->...k", dc, wh, optimize=True)
    dwx = np.einsum("bi,bgj->igj", x.reshape(-1, I), da.reshape(-1, 3, H), optimize=True)
    dwh = np.einsum("bk,bgj->kgj", h.reshape(-1, H), dc.reshape(-1, 3, H), optimize=True)
    batch_axes = tuple(range(da.ndim - 2))
    dbx = da.sum(axis=batch_axes)
    dbh = dc.sum(axis=batch_axes)
    return _into(out, Gradients(*map(np.asarray, (dx, dh, dwx, dwh, dbx, dbh), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("...", "I")),
    "h": ("Real", ("...", "H")),
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
