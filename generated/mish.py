"""A smooth activation that gates itself, x * tanh(softplus(x)).

    softplus_x[...]      = softplus(x[...])
    tanh_softplus_x[...] = tanh(softplus_x[...])
    y[...]               = tanh_softplus_x[...]*x[...]

Source: Misra, "Mish: A Self Regularized Non-Monotonic Activation Function", 2020.
"""

# Made by derive 0.1.0 from activations.layer. Do not edit: change the layer file and run
# `derive generate mish`.

from typing import NamedTuple

import numpy as np
from scipy.special import expit  # NumPy has none


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [...]
    softplus_x: np.ndarray  # [...]
    tanh_softplus_x: np.ndarray  # [...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [...]


def forward(x):
    """Return (y, cache).

    x, y: [...].
    Raises ValueError for another shape or kind.
    """
    x = _expect(x)
    softplus_x = np.logaddexp(0, x)
    tanh_softplus_x = np.tanh(softplus_x)
    y = x * tanh_softplus_x
    return y, Cache(x, softplus_x, tanh_softplus_x)


def backward(dy, cache):
    """Return Gradients(dx).

        dx[...] = dy[...]*(4*sigmoid(x[...])*exp(-2*abs(softplus_x[...]))*
                  x[...]/(exp(-2*abs(softplus_x[...])) + 1)**2 + tanh_softplus_x[...])

    dy: [...].
    Raises ValueError for another shape.
    """
    x, softplus_x, tanh_softplus_x = cache
    dy = _cotangent("dy", dy, x.shape, x.dtype)
    part = np.exp(-2 * np.abs(softplus_x))
    dx = dy * (tanh_softplus_x + 4 * x * expit(x) * part / np.square(1 + part))
    return Gradients(dx)


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("...",)),
}
_KINDS = {"Real": "f"}


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
