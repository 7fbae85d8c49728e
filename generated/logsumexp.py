"""Logarithm of the sum of exponentials over the last axis, a smooth maximum.

    y[...] = logsumexp[c](z[..., c])

Source: Blanchard, Higham & Higham, "Accurately Computing the Log-Sum-Exp and Softmax Functions", 2021.
"""

# Made by derive 0.1.0 from softmax.layer. Do not edit: change the layer file and run
# `derive generate logsumexp`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    z: np.ndarray  # [..., C]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dz: np.ndarray  # [..., C]


def forward(z):
    """Return (y, cache).

    z: [..., C]; y: [...].
    Raises ValueError for another shape or kind or an empty axis.
    """
    z = _expect(z)
    y = _logsumexp(z, axis=-1)
    return y, Cache(z)


def backward(dy, cache):
    """Return Gradients(dz).

        dz[..., c] = dy[...]*softmax[c](z[..., c])

    dy: [...].
    Raises ValueError for another shape.
    """
    z = cache.z
    batch = z.shape[:-1]
    dy = _cotangent("dy", dy, batch, z.dtype)
    p = np.exp(z - z.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    dz = dy[..., None] * p
    return Gradients(dz)


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "z": ("Real", ("...", "C")),
}
_KINDS = {"Real": "f"}
# What is undefined where an axis has no elements.
_NONEMPTY = {
    "C": "logsumexp[c]",
}


def _expect(*inputs):
    """Return the inputs as arrays; ValueError for another kind or shape, or an empty axis."""
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
    for axis, why in _NONEMPTY.items():
        if 0 in np.atleast_1d(sizes[axis][0]):
            raise ValueError(f"{sizes[axis][1]}: the axis {axis} is empty, which leaves {why} undefined")
    return arrays[0]


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


def _logsumexp(x, axis=None, keepdims=False):
    """Return log(sum(exp(x))) with the largest element taken out; -inf where all elements are -inf."""
    top = x.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0).astype(x.dtype)
    with np.errstate(divide="ignore"):  # log(0) = -inf
        result = top + np.log(np.exp(x - top).sum(axis=axis, keepdims=True))
    return result if keepdims else result.squeeze(axis)
