"""Mean loss that turns pairs labelled 1 together and pairs labelled -1 apart.

    r1[n]         = norm[d](x1[n, d])
    r2[n]         = norm[d](x2[n, d])
    maximum_r1[n] = maximum(r1[n], 1e-08)
    maximum_r2[n] = maximum(r2[n], 1e-08)
    s[n]          = sum[d](x1[n, d]*x2[n, d])/(maximum_r1[n]*maximum_r2[n])
    loss          = mean[n](where(t[n] == 1, 1 - s[n], relu(s[n] - margin)))

Source: Bromley, Guyon, LeCun, Säckinger & Shah, "Signature Verification Using a Siamese Time Delay
Neural Network", 1993.
"""

# Made by derive 0.1.0 from losses.layer. Do not edit: change the layer file and run
# `derive generate cosine_embedding_loss`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x1: np.ndarray  # [N, D]
    x2: np.ndarray  # [N, D]
    t: np.ndarray  # [N]
    r1: np.ndarray  # [N]
    r2: np.ndarray  # [N]
    maximum_r1: np.ndarray  # [N]
    maximum_r2: np.ndarray  # [N]
    s: np.ndarray  # [N]
    margin: float
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx1: np.ndarray  # [N, D]
    dx2: np.ndarray  # [N, D]


def forward(x1, x2, t, *, margin=0.0):
    """Return (loss, cache).

    x1, x2: [N, D]; t: [N] integers; loss: scalar.
    Raises ValueError for another shape or kind or an empty axis.
    """
    x1, x2, t = _expect(x1, x2, t)
    r1 = _norm(x1, axis=-1)
    r2 = _norm(x2, axis=-1)
    maximum_r1 = np.maximum(r1, 1e-08)
    maximum_r2 = np.maximum(r2, 1e-08)
    s = (x1 * x2).sum(axis=-1) / (maximum_r1 * maximum_r2)
    loss = np.where(t == 1, 1 - s, np.maximum(s - margin, 0)).mean()
    dtypes = (x1.dtype, x2.dtype)
    return loss, Cache(x1, x2, t, r1, r2, maximum_r1, maximum_r2, s, margin, dtypes)


def backward(dloss, cache, out=None):
    """Return Gradients(dx1, dx2).

        ds[n]     = dloss*where(t[n] == 1, -1, s[n] - margin > 0)/N
        dx1[n, d] = ds[n]*(x2[n, d]/maximum_r2[n] - heaviside(r1[n] - 1e-08)*s[n]*x1[n, d]/maximum_r1[n])
                    /maximum_r1[n]
        dx2[n, d] = ds[n]*(x1[n, d]/maximum_r1[n] - heaviside(r2[n] - 1e-08)*s[n]*x2[n, d]/maximum_r2[n])
                    /maximum_r2[n]

    dloss: scalar.
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x1, x2, t, r1, r2, maximum_r1, maximum_r2, s, margin, dtypes = cache
    N = x1.shape[0]
    dloss = _cotangent("dloss", dloss, (), np.result_type(*dtypes))
    ds = (dloss / N * np.where(t == 1, -1, (s - margin > 0).astype(dloss.dtype)))[:, None]
    dx1 = (
        ds
        / maximum_r1[:, None]
        * (x2 / maximum_r2[:, None] - (s * np.heaviside(r1 - 1e-08, 0.5) / maximum_r1)[:, None] * x1)
    )
    dx2 = (
        ds
        / maximum_r2[:, None]
        * (x1 / maximum_r1[:, None] - (s * np.heaviside(r2 - 1e-08, 0.5) / maximum_r2)[:, None] * x2)
    )
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
