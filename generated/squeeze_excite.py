"""Channels weighted by a gate that is computed from their means.

    z[n, c]       = mean[i, j](x[n, c, i, j])
    s[n, r]       = relu(sum[c](w1[c, r]*z[n, c]) + b1[r])
    gate[n, c]    = sigmoid(sum[r](s[n, r]*w2[r, c]) + b2[c])
    y[n, c, i, j] = gate[n, c]*x[n, c, i, j]

Source: Hu, Shen & Sun, "Squeeze-and-Excitation Networks", 2018.
"""

# Made by derive 0.1.0 from gating.layer. Do not edit: change the layer file and run
# `derive generate squeeze_excite`.

from typing import NamedTuple

import numpy as np
from scipy.special import expit  # NumPy has none


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    w1: np.ndarray  # [C, R]
    w2: np.ndarray  # [R, C]
    z: np.ndarray  # [N, C]
    s: np.ndarray  # [N, R]
    gate: np.ndarray  # [N, C]
    y: np.ndarray  # [N, C, H, W]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [N, C, H, W]
    dw1: np.ndarray  # [C, R]
    db1: np.ndarray  # [R]
    dw2: np.ndarray  # [R, C]
    db2: np.ndarray  # [C]


def forward(x, w1, b1, w2, b2):
    """Return (y, cache).

    x, y: [N, C, H, W]; w1: [C, R]; b1: [R]; w2: [R, C]; b2: [C].
    Raises ValueError for another shape or kind or an empty axis.
    """
    x, w1, b1, w2, b2 = _expect(x, w1, b1, w2, b2)
    z = x.mean(axis=(2, 3))
    s = np.maximum(z @ w1 + b1, 0)
    gate = expit(s @ w2 + b2)
    y = gate[:, :, None, None] * x
    dtypes = (x.dtype, w1.dtype, b1.dtype, w2.dtype, b2.dtype)
    return y, Cache(w1, w2, z, s, gate, y, dtypes)


def backward(dy, cache, out=None):
    """Return Gradients(dx, dw1, db1, dw2, db2).

        dpre_gate[n, c] = sum[i, j](dy[n, c, i, j]*y[n, c, i, j])*(1 - gate[n, c])
        ds[n, r]        = sum[c](dpre_gate[n, c]*w2[r, c])
        dpre_s[n, r]    = (s[n, r] > 0)*ds[n, r]
        dz[n, c]        = sum[r](dpre_s[n, r]*w1[c, r])
        dx[n, c, i, j]  = gate[n, c]*dy[n, c, i, j] + dz[n, c]/(H*W)
        dw1[c, r]       = sum[n](dpre_s[n, r]*z[n, c])
        db1[r]          = sum[n](dpre_s[n, r])
        dw2[r, c]       = sum[n](dpre_gate[n, c]*s[n, r])
        db2[c]          = sum[n](dpre_gate[n, c])

    dy: [N, C, H, W].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    w1, w2, z, s, gate, y, dtypes = cache
    _, _, H, W = y.shape
    dy = _cotangent("dy", dy, y.shape, np.result_type(*dtypes))
    dpre_gate = (1 - gate) * (dy * y).sum(axis=(2, 3))
    ds = dpre_gate @ w2.T
    dpre_s = ds * (s > 0)
    dz = (dpre_s @ w1.T)[:, :, None, None]
    dx = gate[:, :, None, None] * dy + dz / (H * W)
    dw1 = z.T @ dpre_s
    db1 = dpre_s.sum(axis=0)
    dw2 = s.T @ dpre_gate
    db2 = dpre_gate.sum(axis=0)
    return _into(out, Gradients(*map(np.asarray, (dx, dw1, db1, dw2, db2), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("N", "C", "H", "W")),
    "w1": ("Real", ("C", "R")),
    "b1": ("Real", ("R",)),
    "w2": ("Real", ("R", "C")),
    "b2": ("Real", ("C",)),
}
_KINDS = {"Real": "f"}
# What is undefined where an axis has no elements.
_NONEMPTY = {
    "H": "mean[i]",
    "W": "mean[j]",
}


def _expect(*inputs):
    """Return the inputs as arrays; ValueError for another kind or shape, or an empty axis."""
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
    for axis, why in _NONEMPTY.items():
        if 0 in np.atleast_1d(sizes[axis][0]):
            raise ValueError(f"{sizes[axis][1]}: the axis {axis} is empty, which leaves {why} undefined")
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
