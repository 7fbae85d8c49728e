"""A bilinear form of two inputs for each output.

    y[..., o] = sum[i, j](x1[..., i]*x2[..., j]*w[i, j, o]) + b[o]

Source: Tenenbaum & Freeman, "Separating Style and Content with Bilinear Models", 2000.
"""

# Made by derive 0.1.0 from linear.layer. Do not edit: change the layer file and run
# `derive generate bilinear`.

from typing import NamedTuple

import numpy as np

# For einsum: two arrays at a time, in the cheapest order, however large what lies between them.
_PAIRWISE = ("optimal", 2**60)


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x1: np.ndarray  # [..., I]
    x2: np.ndarray  # [..., J]
    w: np.ndarray  # [I, J, O]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx1: np.ndarray  # [..., I]
    dx2: np.ndarray  # [..., J]
    dw: np.ndarray  # [I, J, O]
    db: np.ndarray  # [O]


def forward(x1, x2, w, b):
    """Return (y, cache).

    x1: [..., I]; x2: [..., J]; w: [I, J, O]; b: [O]; y: [..., O].
    Raises ValueError for another shape or kind.
    """
    x1, x2, w, b = _expect(x1, x2, w, b)
    y = np.einsum("...i,...j,ijo->...o", x1, x2, w, optimize=_PAIRWISE) + b
    dtypes = (x1.dtype, x2.dtype, w.dtype, b.dtype)
    return y, Cache(x1, x2, w, dtypes)


def backward(dy, cache, out=None):
    """Return Gradients(dx1, dx2, dw, db).

        dx1[..., i] = sum[o, j](dy[..., o]*x2[..., j]*w[i, j, o])
        dx2[..., j] = sum[o, i](dy[..., o]*x1[..., i]*w[i, j, o])
        dw[i, j, o] = sum[...](dy[..., o]*x1[..., i]*x2[..., j])
        db[o]       = sum[...](dy[..., o])

    dy: [..., O].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x1, x2, w, dtypes = cache
    *batch, I = x1.shape
    O = w.shape[2]
    J = x2.shape[-1]
    dy = _cotangent("dy", dy, (*batch, O), np.result_type(*dtypes))
    dx1 = np.einsum("...o,...j,ijo->...i", dy, x2, w, optimize=_PAIRWISE)
    dx2 = np.einsum("...o,...i,ijo->...j", dy, x1, w, optimize=_PAIRWISE)
    dw = np.einsum("bi,bj,bo->ijo", x1.reshape(-1, I), x2.reshape(-1, J), dy.reshape(-1, O), optimize=_PAIRWISE)
    db = dy.sum(axis=tuple(range(dy.ndim - 1)))
    return _into(out, Gradients(*map(np.asarray, (dx1, dx2, dw, db), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x1": ("Real", ("...", "I")),
    "x2": ("Real", ("...", "J")),
    "w": ("Real", ("I", "J", "O")),
    "b": ("Real", ("O",)),
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
