"""Feature-wise linear modulation: a condition z gives each channel a factor and an offset.

    gamma[n, o]   = sum[i](wg[i, o]*z[n, i]) + bg[o]
    beta[n, o]    = sum[i](wb[i, o]*z[n, i]) + bb[o]
    y[n, c, i, j] = gamma[n, c]*x[n, c, i, j] + beta[n, c]

Source: Perez, Strub, de Vries, Dumoulin & Courville, "FiLM: Visual Reasoning with a General Conditioning
Layer", 2018.
"""

# Made by derive 0.1.0 from gating.layer. Do not edit: change the layer file and run
# `derive generate film`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [N, C, H, W]
    z: np.ndarray  # [N, K]
    wg: np.ndarray  # [K, C]
    wb: np.ndarray  # [K, C]
    gamma: np.ndarray  # [N, C, 1, 1]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [N, C, H, W]
    dz: np.ndarray  # [N, K]
    dwg: np.ndarray  # [K, C]
    dbg: np.ndarray  # [C]
    dwb: np.ndarray  # [K, C]
    dbb: np.ndarray  # [C]


def forward(x, z, wg, bg, wb, bb):
    """Return (y, cache).

    x, y: [N, C, H, W]; z: [N, K]; wg, wb: [K, C]; bg, bb: [C].
    Raises ValueError for another shape or kind.
    """
    x, z, wg, bg, wb, bb = _expect(x, z, wg, bg, wb, bb)
    gamma = (z @ wg)[:, :, None, None] + bg[:, None, None]
    beta = (z @ wb)[:, :, None, None] + bb[:, None, None]
    y = gamma * x + beta
    dtypes = (x.dtype, z.dtype, wg.dtype, bg.dtype, wb.dtype, bb.dtype)
    return y, Cache(x, z, wg, wb, gamma, dtypes)


def backward(dy, cache, out=None):
    """Return Gradients(dx, dz, dwg, dbg, dwb, dbb).

        dbeta[n, o]    = sum[i, j](dy[n, o, i, j])
        dgamma[n, o]   = sum[i, j](dy[n, o, i, j]*x[n, o, i, j])
        dx[n, c, i, j] = gamma[n, c]*dy[n, c, i, j]
        dz[n, i]       = sum[o](dbeta[n, o]*wb[i, o]) + sum[o](dgamma[n, o]*wg[i, o])
        dwg[i, o]      = sum[n](dgamma[n, o]*z[n, i])
        dbg[o]         = sum[n](dgamma[n, o])
        dwb[i, o]      = sum[n](dbeta[n, o]*z[n, i])
        dbb[o]         = sum[n](dbeta[n, o])

    dy: [N, C, H, W].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x, z, wg, wb, gamma, dtypes = cache
    dy = _cotangent("dy", dy, x.shape, np.result_type(*dtypes))
    dbeta = dy.sum(axis=(2, 3))
    dgamma = (dy * x).sum(axis=(2, 3))
    dx = gamma * dy
    dz = dgamma @ wg.T + dbeta @ wb.T
    dwg = z.T @ dgamma
    dbg = dgamma.sum(axis=0)
    dwb = z.T @ dbeta
    dbb = dbeta.sum(axis=0)
    return _into(out, Gradients(*map(np.asarray, (dx, dz, dwg, dbg, dwb, dbb), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("N", "C", "H", "W")),
    "z": ("Real", ("N", "K")),
    "wg": ("Real", ("K", "C")),
    "bg": ("Real", ("C",)),
    "wb": ("Real", ("K", "C")),
    "bb": ("Real", ("C",)),
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
