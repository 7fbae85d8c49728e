"""Mean loss until the anchor is closer to the positive than to the negative by a margin.

As in PyTorch, eps is added to each difference, so that no distance is zero.

    diff[n, d]  = anchor[n, d] + eps - positive[n, d]
    near[n]     = norm[d](diff[n, d])
    diff2[n, d] = anchor[n, d] + eps - negative[n, d]
    far[n]      = norm[d](diff2[n, d])
    diff3[n]    = near[n] + margin - far[n]
    loss        = mean[n](relu(diff3[n]))

Source: Balntas, Riba, Ponsa & Mikolajczyk, "Learning Local Feature Descriptors with Triplets and Shallow
Convolutional Neural Networks", 2016.
"""

# Made by derive 0.1.0 from losses.layer. Do not edit: change the layer file and run
# `derive generate triplet_margin_loss`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    diff: np.ndarray  # [N, D]
    near: np.ndarray  # [N]
    diff2: np.ndarray  # [N, D]
    far: np.ndarray  # [N]
    diff3: np.ndarray  # [N]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    danchor: np.ndarray  # [N, D]
    dpositive: np.ndarray  # [N, D]
    dnegative: np.ndarray  # [N, D]


def forward(anchor, positive, negative, *, margin=1.0, eps=1e-06):
    """Return (loss, cache).

    anchor, positive, negative: [N, D]; loss: scalar.
    Raises ValueError for another shape or kind or an empty axis.
    """
    anchor, positive, negative = _expect(anchor, positive, negative)
    anchor_plus_eps = anchor + eps
    diff = anchor_plus_eps - positive
    near = _norm(diff, axis=-1)
    diff2 = anchor_plus_eps - negative
    far = _norm(diff2, axis=-1)
    diff3 = near + margin - far
    loss = np.maximum(diff3, 0).mean()
    dtypes = (anchor.dtype, positive.dtype, negative.dtype)
    return loss, Cache(diff, near, diff2, far, diff3, dtypes)


def backward(dloss, cache, out=None):
    """Return Gradients(danchor, dpositive, dnegative).

        ddiff3[n]       = dloss*(diff3[n] > 0)/N
        ddiff2[n, d]    = -ddiff3[n]*diff2[n, d]/where(far[n] == 0, 1, far[n])
        ddiff[n, d]     = ddiff3[n]*diff[n, d]/where(near[n] == 0, 1, near[n])
        danchor[n, d]   = ddiff[n, d] + ddiff2[n, d]
        dpositive[n, d] = -ddiff[n, d]
        dnegative[n, d] = -ddiff2[n, d]

    dloss: scalar.
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    diff, near, diff2, far, diff3, dtypes = cache
    N = diff.shape[0]
    dloss = _cotangent("dloss", dloss, (), np.result_type(*dtypes))
    ddiff3 = (dloss / N * (diff3 > 0))[:, None]
    ddiff2 = -ddiff3 / np.where(far == 0, 1, far)[:, None] * diff2
    ddiff = ddiff3 / np.where(near == 0, 1, near)[:, None] * diff
    danchor = ddiff2 + ddiff
    dpositive = -ddiff
    dnegative = -ddiff2
    return _into(out, Gradients(*map(np.asarray, (danchor, dpositive, dnegative), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "anchor": ("Real", ("N", "D")),
    "positive": ("Real", ("N", "D")),
    "negative": ("Real", ("N", "D")),
}
_KINDS = {"Real": "f"}
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
