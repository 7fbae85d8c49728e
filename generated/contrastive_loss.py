"""Mean loss of pairs: half the squared distance where t is 1, half the squared rest up to a margin where it is
0.

    diff[n, d] = x1[n, d] - x2[n, d]
    r[n]       = norm[d](diff[n, d])
    loss       = 0.5*mean[n](where(t[n] == 1, r[n]**2, relu(margin - r[n])**2))

Source: Hadsell, Chopra & LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", 2006.
"""

# Made by derive 0.1.0 from contrastive.layer. Do not edit: change the layer file and run
# `derive generate contrastive_loss`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    t: np.ndarray  # [N]
    diff: np.ndarray  # [N, D]
    r: np.ndarray  # [N]
    margin: float
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx1: np.ndarray  # [N, D]
    dx2: np.ndarray  # [N, D]


def forward(x1, x2, t, *, margin=1.0):
    """Return (loss, cache).

    x1, x2: [N, D]; t: [N] integers; loss: scalar.
    Raises ValueError for another shape or kind or an empty axis.
    """
    x1, x2, t = _expect(x1, x2, t)
    diff = x1 - x2
    r = _norm(diff, axis=-1)
    loss = 0.5 * np.where(t == 1, r * r, np.square(np.maximum(margin - r, 0))).mean()
    dtypes = (x1.dtype, x2.dtype)
    return loss, Cache(t, diff, r, margin, dtypes)


def backward(dloss, cache, out=None):
    """Return Gradients(dx1, dx2).

        dx1[n, d] = 0.5*dloss*where(t[n] == 1, 2*r[n], -2*relu(margin - r[n]))*
                    diff[n, d]/(N*where(r[n] == 0, 1, r[n]))
        dx2[n, d] = -dx1[n, d]

    dloss: scalar.
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    t, diff, r, margin, dtypes = cache
    N = t.shape[0]
    dloss = _cotangent("dloss", dloss, (), np.result_type(*dtypes))
    dx1 = 0.5 / N * dloss * np.where(t == 1, 2 * r, -2 * np.maximum(margin - r, 0)) / np.where(r == 0, 1, r)
    dx1 = dx1[:, None] * diff
    dx2 = -dx1
    return _into(out, Gradients(*map(np.asarray, (dx1, dx2), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x1": ("Real", ("N", "D")),
    "x2": ("Real", ("N", "D")),
    "t": ("Int", ("N",)),
}
_KINDS = {"Real": "f", "Int": "iu"}
# What is undefined where an axis has no elements.
_NONEMPTY = {
    "N": "mean[n]",
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


def _norm(x, axis=None, keepdims=False):
    """Return the Euclidean norm; scaled by the largest element, so that no square over- or underflows."""
    scale = np.abs(x).max(axis=axis, keepdims=True, initial=0)
    scale = np.where((scale > 0) & (scale < np.inf), scale, 1).astype(x.dtype)
    norm = scale * np.sqrt(np.square(x / scale).sum(axis=axis, keepdims=True))
    return norm if keepdims else norm.squeeze(axis)
