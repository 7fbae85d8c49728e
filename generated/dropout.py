"""Dropout with a given mask: what is kept is scaled by 1/(1 - p).

The mask is true where an element is kept, which happens with probability 1 - p; p is below 1.

    y[...] = mask[...]*x[...]/(1 - p)

Source: Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov, "Dropout: A Simple Way to Prevent
Neural Networks from Overfitting", 2014.
"""

# Made by derive 0.1.0 from linear.layer. Do not edit: change the layer file and run
# `derive generate dropout`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    mask: np.ndarray  # [...]
    p: float
    dtype: np.dtype


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [...]


def forward(x, mask, *, p=0.5):
    """Return (y, cache).

    x, y: [...]; mask: [...] booleans.
    Raises ValueError for another shape or kind.
    """
    x, mask = _expect(x, mask)
    y = x / (1 - p) * mask
    return y, Cache(mask, p, x.dtype)


def backward(dy, cache):
    """Return Gradients(dx).

        dx[...] = dy[...]*mask[...]/(1 - p)

    dy: [...].
    Raises ValueError for another shape.
    """
    mask, p, dtype = cache
    dy = _cotangent("dy", dy, mask.shape, dtype)
    dx = dy / (1 - p) * mask
    return Gradients(dx)


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("...",)),
    "mask": ("Bool", ("...",)),
}
_KINDS = {"Real": "f", "Bool": "b"}


def _expect(*inputs):
    """Return the inputs as arrays; ValueError for another kind or shape."""
    arrays = [np.asarray(value) for value in inputs]
    real = [a.dtype for a, v in zip(arrays, inputs, strict=True) if a.dtype.kind == "f" and type(v) is not float]
    sizes = {}  # of every axis: its length, and the input it is from
    for k, (name, (kind, axes)) in enumerate(_INPUTS.items()):
        if type(inputs[k]) in (int, float) and "f" in _KINDS[kind]:  # a Python number takes the dtype of the arrays
            arrays[k] = np.asarray(inputs[k], dtype=np.result_type(*real) if real else float)
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
