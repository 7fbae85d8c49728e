"""The position-wise network of a transformer: two linear layers with relu between them.

    h[..., o] = sum[i](w1[i, o]*x[..., i]) + b1[o]
    a[..., f] = where(h[..., f] > 0, h[..., f], 0)
    y[..., o] = sum[i](a[..., i]*w2[i, o]) + b2[o]

Source: Vaswani et al., "Attention Is All You Need", 2017.
"""

# Made by derive 0.1.0 from transformer.layer. Do not edit: change the layer file and run
# `derive generate feed_forward`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [..., D]
    w1: np.ndarray  # [D, F]
    w2: np.ndarray  # [F, D]
    a: np.ndarray  # [..., F]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [..., D]
    dw1: np.ndarray  # [D, F]
    db1: np.ndarray  # [F]
    dw2: np.ndarray  # [F, D]
    db2: np.ndarray  # [D]


def forward(x, w1, b1, w2, b2):
    """Return (y, cache).

    x, y: [..., D]; w1: [D, F]; b1: [F]; w2: [F, D]; b2: [D].
    Raises ValueError for another shape or kind.
    """
    x, w1, b1, w2, b2 = _expect(x, w1, b1, w2, b2)
    h = x @ w1 + b1
    a = np.maximum(h, 0)
    y = a @ w2 + b2
    dtypes = (x.dtype, w1.dtype, b1.dtype, w2.dtype, b2.dtype)
    return y, Cache(x, w1, w2, a, dtypes)


def backward(dy, cache, out=None):
    """Return Gradients(dx, dw1, db1, dw2, db2).

        da[..., f] = sum[o](dy[..., o]*w2[f, o])
        dh[..., o] = where(a[..., o] > 0, 1, 0)*da[..., o]
        dx[..., i] = sum[o](dh[..., o]*w1[i, o])
        dw1[i, o]  = sum[...](dh[..., o]*x[..., i])
        db1[o]     = sum[...](dh[..., o])
        dw2[i, o]  = sum[...](a[..., i]*dy[..., o])
        db2[o]     = sum[...](dy[..., o])

    dy: [..., D].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x, w1, w2, a, dtypes = cache
    D = x.shape[-1]
    F = w1.shape[1]
    dy = _cotangent("dy", dy, x.shape, np.result_type(*dtypes))
    da = dy @ w2.T
    dh = da * (a > 0)
    dx = dh @ w1.T
    dw1 = x.reshape(-1, D).T @ dh.reshape(-1, F)
    batch_axes = tuple(range(dh.ndim - 1))
    db1 = dh.sum(axis=batch_axes)
    dw2 = a.reshape(-1, F).T @ dy.reshape(-1, D)
    db2 = dy.sum(axis=batch_axes)
    return _into(out, Gradients(*map(np.asarray, (dx, dw1, db1, dw2, db2), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("...", "D")),
    "w1": ("Real", ("D", "F")),
    "b1": ("Real", ("F",)),
    "w2": ("Real", ("F", "D")),
    "b2": ("Real", ("D",)),
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
