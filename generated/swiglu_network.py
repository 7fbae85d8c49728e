"""The position-wise network of a transformer with a swish gate and without biases.

    a[..., f]         = sum[d](w1[d, f]*x[..., d])
    b[..., f]         = sum[d](w3[d, f]*x[..., d])
    sigmoid_a[..., f] = sigmoid(a[..., f])
    h[..., f]         = a[..., f]*b[..., f]*sigmoid_a[..., f]
    y[..., d]         = sum[f](h[..., f]*w2[f, d])

Source: Shazeer, "GLU Variants Improve Transformer", 2020.
"""

# Made by derive 0.1.0 from transformer.layer. Do not edit: change the layer file and run
# `derive generate swiglu_network`.

from typing import NamedTuple

import numpy as np
from scipy.special import expit  # NumPy has none


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [..., D]
    w1: np.ndarray  # [D, F]
    w2: np.ndarray  # [F, D]
    w3: np.ndarray  # [D, F]
    a: np.ndarray  # [..., F]
    b: np.ndarray  # [..., F]
    sigmoid_a: np.ndarray  # [..., F]
    h: np.ndarray  # [..., F]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [..., D]
    dw1: np.ndarray  # [D, F]
    dw2: np.ndarray  # [F, D]
    dw3: np.ndarray  # [D, F]


def forward(x, w1, w2, w3):
    """Return (y, cache).

    x, y: [..., D]; w1, w3: [D, F]; w2: [F, D].
    Raises ValueError for another shape or kind.
    """
    x, w1, w2, w3 = _expect(x, w1, w2, w3)
    a = x @ w1
    b = x @ w3
    sigmoid_a = expit(a)
    h = a * b * sigmoid_a
    y = h @ w2
    dtypes = (x.dtype, w1.dtype, w2.dtype, w3.dtype)
    return y, Cache(x, w1, w2, w3, a, b, sigmoid_a, h, dtypes)


def backward(dy, cache, out=None):
    """Return Gradients(dx, dw1, dw2, dw3).

        dh[..., f] = sum[d](dy[..., d]*w2[f, d])
        db[..., f] = a[..., f]*dh[..., f]*sigmoid_a[..., f]
        da[..., f] = dh[..., f]*(h[..., f]*(1 - sigmoid_a[..., f]) + b[..., f]*sigmoid_a[..., f])
        dx[..., d] = sum[f](da[..., f]*w1[d, f]) + sum[f](db[..., f]*w3[d, f])
        dw1[d, f]  = sum[...](da[..., f]*x[..., d])
        dw2[f, d]  = sum[...](dy[..., d]*h[..., f])
        dw3[d, f]  = sum[...](db[..., f]*x[..., d])

    dy: [..., D].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x, w1, w2, w3, a, b, sigmoid_a, h, dtypes = cache
    D = x.shape[-1]
    F = w1.shape[1]
    dy = _cotangent("dy", dy, x.shape, np.result_type(*dtypes))
    dh = dy @ w2.T
    db = a * sigmoid_a * dh
    da = dh * (b * sigmoid_a + h * (1 - sigmoid_a))
    dx = da @ w1.T + db @ w3.T
    dw1 = x.reshape(-1, D).T @ da.reshape(-1, F)
    dw2 = h.reshape(-1, F).T @ dy.reshape(-1, D)
    dw3 = x.reshape(-1, D).T @ db.reshape(-1, F)
    return _into(out, Gradients(*map(np.asarray, (dx, dw1, dw2, dw3), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("...", "D")),
    "w1": ("Real", ("D", "F")),
    "w2": ("Real", ("F", "D")),
    "w3": ("Real", ("D", "F")),
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
