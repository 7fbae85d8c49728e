"""Mean loss of N pairs of different classes: every y of another pair is a negative of x.

    s[i, j] = sum[d](x[i, d]*y[j, d])
    lse[i]  = logsumexp[j](where(j != i, s[i, j] - s[i, i], -inf))
    loss    = mean[i](softplus(lse[i]))

Source: Sohn, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective", 2016.
"""

# Made by derive 0.1.0 from contrastive.layer. Do not edit: change the layer file and run
# `derive generate n_pair_loss`.

from typing import NamedTuple

import numpy as np
from scipy.special import expit  # NumPy has none


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [N, D]
    y: np.ndarray  # [N, D]
    s: np.ndarray  # [N, N]
    lse: np.ndarray  # [N]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [N, D]
    dy: np.ndarray  # [N, D]


def forward(x, y):
    """Return (loss, cache).

    x, y: [N, D]; loss: scalar.
    Raises ValueError for another shape or kind or an empty axis.
    """
    x, y = _expect(x, y)
    N = x.shape[0]
    s = x @ y.T
    lse = _logsumexp(np.where(np.arange(N) != np.arange(N)[:, None], s - np.diagonal(s)[:, None], -np.inf), axis=-1)
    loss = np.logaddexp(0, lse).mean()
    dtypes = (x.dtype, y.dtype)
    return loss, Cache(x, y, s, lse, dtypes)


def backward(dloss, cache, out=None):
    """Return Gradients(dx, dy).

        ds[i, j] = dloss*(sigmoid(lse[i])*where(j != i, softmax[j](where(j != i, s[i, j] - s[i, i], -inf)), 0)/N
                   + sigmoid(lse[j])*delta(i, j)*
                   mean[k](where(k != j, -softmax[k](where(k != j, s[j, k] - s[j, j], -inf)), 0)))
        dx[i, d] = sum[j](ds[i, j]*y[j, d])
        dy[j, d] = sum[i](ds[i, j]*x[i, d])

    dloss: scalar.
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x, y, s, lse, dtypes = cache
    N = x.shape[0]
    dloss = _cotangent("dloss", dloss, (), np.result_type(*dtypes))
    part = s - np.diagonal(s)[:, None]
    p = np.where(np.arange(N) != np.arange(N)[:, None], part, -np.inf)
    with np.errstate(invalid="ignore"):  # where() drops these values
        p = np.exp(p - p.max(axis=-1, keepdims=True))
        p /= p.sum(axis=-1, keepdims=True)
    p2 = np.where(np.arange(N) != np.arange(N)[:, None], part, -np.inf)
    with np.errstate(invalid="ignore"):  # where() drops these values
        p2 = np.exp(p2 - p2.max(axis=-1, keepdims=True))
        p2 /= p2.sum(axis=-1, keepdims=True)
    expit_lse = expit(lse)
    ds = (expit_lse / N)[:, None] * np.where(np.arange(N) != np.arange(N)[:, None], p, 0)
    ds[np.arange(N), np.arange(N)] += expit_lse * np.where(np.arange(N) != np.arange(N)[:, None], -p2, 0).mean(axis=-1)
    ds *= dloss
    dx = ds @ y
    dy = ds.T @ x
    return _into(out, Gradients(*map(np.asarray, (dx, dy), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("N", "D")),
    "y": ("Real", ("N", "D")),
}
_KINDS = {"Real": "f"}
# What is undefined where an axis has no elements.
_NONEMPTY = {
    "N": "mean[i]",
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


def _logsumexp(x, axis=None, keepdims=False):
    """Return log(sum(exp(x))) with the largest element taken out; -inf where all elements are -inf."""
    top = x.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0).astype(x.dtype)
    with np.errstate(divide="ignore"):  # log(0) = -inf
        result = top + np.log(np.exp(x - top).sum(axis=axis, keepdims=True))
    return result if keepdims else result.squeeze(axis)
