"""Two linear layers with GELU between them.

    h[..., o] = sum[i](w1[i, o]*x[..., i]) + b1[o]
    a[..., h] = 0.5*erfc(-0.5*sqrt(2)*h[..., h])*h[..., h]
    y[..., o] = sum[i](a[..., i]*w2[i, o]) + b2[o]

Source: Hendrycks & Gimpel, "Gaussian Error Linear Units (GELUs)", 2016.
"""

# Made by derive 0.1.0 from transformer.layer. Do not edit: change the layer file and run
# `derive generate gelu_network`.

import math
from typing import NamedTuple

import numpy as np
from scipy.special import erfc  # NumPy has none


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [..., I]
    w1: np.ndarray  # [I, H]
    w2: np.ndarray  # [H, O]
    h: np.ndarray  # [..., H]
    a: np.ndarray  # [..., H]
    erfc_h: np.ndarray  # [..., H]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [..., I]
    dw1: np.ndarray  # [I, H]
    db1: np.ndarray  # [H]
    dw2: np.ndarray  # [H, O]
    db2: np.ndarray  # [O]


def forward(x, w1, b1, w2, b2):
    """Return (y, cache).

    x: [..., I]; w1: [I, H]; b1: [H]; w2: [H, O]; b2: [O]; y: [..., O].
    Raises ValueError for another shape or kind.
    """
    x, w1, b1, w2, b2 = _expect(x, w1, b1, w2, b2)
    h = x @ w1 + b1
    erfc_h = erfc(-h / math.sqrt(2))
    a = 0.5 * h * erfc_h
    y = a @ w2 + b2
    dtypes = (x.dtype, w1.dtype, b1.dtype, w2.dtype, b2.dtype)
    return y, Cache(x, w1, w2, h, a, erfc_h, dtypes)


def backward(dy, cache, out=None):
    """Return Gradients(dx, dw1, db1, dw2, db2).

        da[..., h] = sum[o](dy[..., o]*w2[h, o])
        dh[..., o] = da[..., o]*(0.5*sqrt(2)*exp(-0.5*h[..., o]**2)*h[..., o]/sqrt(pi) + 0.5*
                     erfc(-0.5*sqrt(2)*h[..., o]))
        dx[..., i] = sum[o](dh[..., o]*w1[i, o])
        dw1[i, o]  = sum[...](dh[..., o]*x[..., i])
        db1[o]     = sum[...](dh[..., o])
        dw2[i, o]  = sum[...](a[..., i]*dy[..., o])
        db2[o]     = sum[...](dy[..., o])

    dy: [..., O].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x, w1, w2, h, a, erfc_h, dtypes = cache
    *batch, I = x.shape
    O = w2.shape[1]
    H = w1.shape[1]
    dy = _cotangent("dy", dy, (*batch, O), np.result_type(*dtypes))
    da = dy @ w2.T
    dh = da * (0.5 * erfc_h + h * np.exp(-0.5 * h * h) / math.sqrt(2 * np.pi))
    dx = dh @ w1.T
    dw1 = x.reshape(-1, I).T @ dh.reshape(-1, H)
    batch_axes = tuple(range(dh.ndim - 1))
    db1 = dh.sum(axis=batch_axes)
    dw2 = a.reshape(-1, H).T @ dy.reshape(-1, O)
    db2 = dy.sum(axis=batch_axes)
    return _into(out, Gradients(*map(np.asarray, (dx, dw1, db1, dw2, db2), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("...", "I")),
    "w1": ("Real", ("I", "H")),
    "b1": ("Real", ("H",)),
    "w2": ("Real", ("H", "O")),
    "b2": ("Real", ("O",)),
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
