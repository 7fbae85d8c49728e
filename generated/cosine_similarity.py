"""Cosine of the angle between two vectors on the last axis; a norm counts as eps where it is smaller.

    r1[...]         = norm[d](x1[..., d])
    r2[...]         = norm[d](x2[..., d])
    maximum_r1[...] = maximum(r1[...], eps)
    maximum_r2[...] = maximum(r2[...], eps)
    y[...]          = sum[d](x1[..., d]*x2[..., d])/(maximum_r1[...]*maximum_r2[...])

Source: Salton, Wong & Yang, "A Vector Space Model for Automatic Indexing", 1975.
"""

# Made by derive 0.1.0 from losses.layer. Do not edit: change the layer file and run
# `derive generate cosine_similarity`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x1: np.ndarray  # [..., D]
    x2: np.ndarray  # [..., D]
    r1: np.ndarray  # [...]
    r2: np.ndarray  # [...]
    maximum_r1: np.ndarray  # [...]
    maximum_r2: np.ndarray  # [...]
    y: np.ndarray  # [...]
    eps: float
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx1: np.ndarray  # [..., D]
    dx2: np.ndarray  # [..., D]


def forward(x1, x2, *, eps=1e-08):
    """Return (y, cache).

    x1, x2: [..., D]; y: [...].
    Raises ValueError for another shape or kind.
    """
    x1, x2 = _expect(x1, x2)
    r1 = _norm(x1, axis=-1)
    r2 = _norm(x2, axis=-1)
    maximum_r1 = np.maximum(r1, eps)
    maximum_r2 = np.maximum(r2, eps)
    y = (x1 * x2).sum(axis=-1) / (maximum_r1 * maximum_r2)
    dtypes = (x1.dtype, x2.dtype)
    return y, Cache(x1, x2, r1, r2, maximum_r1, maximum_r2, y, eps, dtypes)


def backward(dy, cache, out=None):
    """Return Gradients(dx1, dx2).

        dx1[..., d] = dy[...]*(x2[..., d]/maximum_r2[...] - heaviside(r1[...] - eps)*y[...]*x1[..., d]
                      /maximum_r1[...])/maximum_r1[...]
        dx2[..., d] = dy[...]*(x1[..., d]/maximum_r1[...] - heaviside(r2[...] - eps)*y[...]*x2[..., d]
                      /maximum_r2[...])/maximum_r2[...]

    dy: [...].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x1, x2, r1, r2, maximum_r1, maximum_r2, y, eps, dtypes = cache
    dy = _cotangent("dy", dy, r1.shape, np.result_type(*dtypes))
    dx1 = x2 / maximum_r2[..., None] - (y * np.heaviside(r1 - eps, 0.5) / maximum_r1)[..., None] * x1
    dx1 *= (dy / maximum_r1)[..., None]
    dx2 = x1 / maximum_r1[..., None] - (y * np.heaviside(r2 - eps, 0.5) / maximum_r2)[..., None] * x2
    dx2 *= (dy / maximum_r2)[..., None]
    return _into(out, Gradients(*map(np.asarray, (dx1, dx2), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x1": ("Real", ("...", "D")),
    "x2": ("Real", ("...", "D")),
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


def _norm(x, axis=None, keepdims=False):
    """Return the Euclidean norm; scaled by the largest element, so that no square over- or underflows."""
    scale = np.abs(x).max(axis=axis, keepdims=True, initial=0)
    scale = np.where((scale > 0) & (scale < np.inf), scale, 1).astype(x.dtype)
    norm = scale * np.sqrt(np.square(x / scale).sum(axis=axis, keepdims=True))
    return norm if keepdims else norm.squeeze(axis)
