"""Two linear layers with tanh between them, and half the squared error, summed.

    h[n, j]      = sum[i](W1[i, j]*x[n, i]) + b1[j]
    a[n, j]      = tanh(h[n, j])
    y_pred[n, o] = sum[j](W2[j, o]*a[n, j]) + b2[o]
    diff[n, o]   = y_pred[n, o] - y[n, o]
    loss         = sum[n, o](0.5*diff[n, o]**2)

Source: Rumelhart, Hinton & Williams, "Learning Representations by Back-Propagating Errors", 1986.
"""

# Made by derive 0.1.0 from networks.layer. Do not edit: change the layer file and run
# `derive generate tiny_mlp`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [N, I]
    W1: np.ndarray  # [I, H]
    W2: np.ndarray  # [H, O]
    a: np.ndarray  # [N, H]
    diff: np.ndarray  # [N, O]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [N, I]
    dy: np.ndarray  # [N, O]
    dW1: np.ndarray  # [I, H]
    db1: np.ndarray  # [H]
    dW2: np.ndarray  # [H, O]
    db2: np.ndarray  # [O]


def forward(x, y, W1, b1, W2, b2):
    """Return (loss, cache).

    x: [N, I]; y: [N, O]; W1: [I, H]; b1: [H]; W2: [H, O]; b2: [O]; loss: scalar.
    Raises ValueError for another shape or kind.
    """
    x, y, W1, b1, W2, b2 = _expect(x, y, W1, b1, W2, b2)
    h = x @ W1 + b1
    a = np.tanh(h)
    y_pred = a @ W2 + b2
    diff = y_pred - y
    loss = 0.5 * (diff * diff).sum()
    dtypes = (x.dtype, y.dtype, W1.dtype, b1.dtype, W2.dtype, b2.dtype)
    return loss, Cache(x, W1, W2, a, diff, dtypes)


def backward(dloss, cache, out=None):
    """Return Gradients(dx, dy, dW1, db1, dW2, db2).

        dy_pred[n, o] = dloss*diff[n, o]
        da[n, j]      = sum[o](W2[j, o]*dy_pred[n, o])
        dh[n, j]      = da[n, j]*(1 - a[n, j]**2)
        dx[n, i]      = sum[j](W1[i, j]*dh[n, j])
        dy[n, o]      = -dy_pred[n, o]
        dW1[i, j]     = sum[n](dh[n, j]*x[n, i])
        db1[j]        = sum[n](dh[n, j])
        dW2[j, o]     = sum[n](a[n, j]*dy_pred[n, o])
        db2[o]        = sum[n](dy_pred[n, o])

    dloss: scalar.
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x, W1, W2, a, diff, dtypes = cache
    dloss = _cotangent("dloss", dloss, (), np.result_type(*dtypes))
    dy_pred = dloss * diff
    da = dy_pred @ W2.T
    dh = da * (1 - a * a)
    dx = dh @ W1.T
    dy = -dy_pred
    dW1 = x.T @ dh
    db1 = dh.sum(axis=0)
    dW2 = a.T @ dy_pred
    db2 = dy_pred.sum(axis=0)
    return _into(out, Gradients(*map(np.asarray, (dx, dy, dW1, db1, dW2, db2), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("N", "I")),
    "y": ("Real", ("N", "O")),
    "W1": ("Real", ("I", "H")),
    "b1": ("Real", ("H",)),
    "W2": ("Real", ("H", "O")),
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
