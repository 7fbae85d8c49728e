"""Maximum of each channel over all pixels; equal maxima share the gradient.

    y[n, c] = max[i, j](x[n, c, i, j])

Source: Oquab, Bottou, Laptev & Sivic, "Is Object Localization for Free? Weakly-Supervised Learning with
Convolutional Neural Networks", 2015.
"""

# Made by derive 0.1.0 from pooling.layer. Do not edit: change the layer file and run
# `derive generate global_max_pool`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [N, C, H, W]
    y: np.ndarray  # [N, C]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [N, C, H, W]


def forward(x):
    """Return (y, cache).

    x: [N, C, H, W]; y: [N, C].
    Raises ValueError for another shape or kind or an empty axis.
    """
    x = _expect(x)
    y = x.max(axis=(2, 3))
    return y, Cache(x, y)


def backward(dy, cache):
    """Return Gradients(dx).

        dx[n, c, i, j] = dy[n, c]*(x[n, c, i, j] == y[n, c])/sum[k, l](x[n, c, k, l] == y[n, c])

    dy: [N, C].
    Raises ValueError for another shape.
    """
    x, y = cache
    dy = _cotangent("dy", dy, y.shape, x.dtype)
    mask = x == y[:, :, None, None]
    dx = dy[:, :, None, None] / mask.sum(axis=(2, 3), keepdims=True).astype(dy.dtype) * mask
    return Gradients(dx)


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("N", "C", "H", "W")),
}
_KINDS = {"Real": "f"}
# What is undefined where an axis has no elements.
_NONEMPTY = {
    "H": "max[i]",
    "W": "max[j]",
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
