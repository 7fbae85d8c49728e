"""One step of a simple recurrent network; returns the next hidden state.

    h_next[..., j] = tanh(sum[k](h[..., k]*wh[k, j]) + sum[i](wx[i, j]*x[..., i]) + bh[j] + bx[j])

Source: Elman, "Finding Structure in Time", 1990.
"""

# Made by derive 0.1.0 from recurrent_cells.layer. Do not edit: change the layer file and run
# `derive generate rnn_cell`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [..., I]
    h: np.ndarray  # [..., H]
    wx: np.ndarray  # [I, H]
    wh: np.ndarray  # [H, H]
    h_next: np.ndarray  # [..., H]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [..., I]
    dh: np.ndarray  # [..., H]
    dwx: np.ndarray  # [I, H]
    dwh: np.ndarray  # [H, H]
    dbx: np.ndarray  # [H]
    dbh: np.ndarray  # [H]


def forward(x, h, wx, wh, bx, bh):
    """Return (h_next, cache).

    x: [..., I]; h, h_next: [..., H]; wx: [I, H]; wh: [H, H]; bx, bh: [H].
    Raises ValueError for another shape or kind.
    """
    x, h, wx, wh, bx, bh = _expect(x, h, wx, wh, bx, bh)
    h_next = np.tanh(x @ wx + h @ wh + bx + bh)
    dtypes = (x.dtype, h.dtype, wx.dtype, wh.dtype, bx.dtype, bh.dtype)
    return h_next, Cache(x, h, wx, wh, h_next, dtypes)


def backward(dh_next, cache):
    """Return Gradients(dx, dh, dwx, dwh, dbx, dbh).

        dpre_h_next[..., j] = dh_next[..., j]*(1 - h_next[..., j]**2)
        dx[..., i]          = sum[j](dpre_h_next[..., j]*wx[i, j])
        dh[..., k]          = sum[j](dpre_h_next[..., j]*wh[k, j])
        dwx[i, j]           = sum[...](dpre_h_next[..., j]*x[..., i])
        dwh[k, j]           = sum[...](dpre_h_next[..., j]*h[..., k])
        dbx[j]              = sum[...](dpre_h_next[..., j])
        dbh[j]              = dbx[j]

    dh_next: [..., H].
    Raises ValueError for another shape.
    """
    x, h, wx, wh, h_next, dtypes = cache
    I = x.shape[-1]
    H = h.shape[-1]
    dh_next = _cotangent("dh_next", dh_next, h.shape, np.result_type(*dtypes))
    dpre_h_next = dh_next * (1 - h_next * h_next)
    dx = dpre_h_next @ wx.T
    dh = dpre_h_next @ wh.T
    dwx = x.reshape(-1, I).T @ dpre_h_next.reshape(-1, H)
    dwh = h.reshape(-1, H).T @ dpre_h_next.reshape(-1, H)
    dbx = dpre_h_next.sum(axis=tuple(range(dpre_h_next.ndim - 1)))
    dbh = dbx.copy()
    return Gradients(*map(np.asarray, (dx, dh, dwx, dwh, dbx, dbh), dtypes))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("...", "I")),
    "h": ("Real", ("...", "H")),
    "wx": ("Real", ("I", "H")),
    "wh": ("Real", ("H", "H")),
    "bx": ("Real", ("H",)),
    "bh": ("Real", ("H",)),
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
