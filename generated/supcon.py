"""Supervised contrastive loss: samples of one label are each other's positives; each label occurs twice or more.

    s[i, a]      = sum[d](z[a, d]*z[i, d])/tau
    logp[i, p]   = s[i, p] - logsumexp[a](where(a != i, s[i, a], -inf))
    positives[i] = sum[p](where(t[p] == t[i] and p != i, 1, 0))
    loss         = -sum[i](sum[p](where(t[p] == t[i] and p != i, logp[i, p], 0))/positives[i])

Source: Khosla et al., "Supervised Contrastive Learning", 2020.
"""

# Made by derive 0.1.0 from contrastive.layer. Do not edit: change the layer file and run
# `derive generate supcon`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    z: np.ndarray  # [N, D]
    t: np.ndarray  # [N]
    s: np.ndarray  # [N, N]
    positives: np.ndarray  # [N]
    tau: float


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dz: np.ndarray  # [N, D]


def forward(z, t, *, tau=0.1):
    """Return (loss, cache).

    z: [N, D]; t: [N] integers; loss: scalar.
    Raises ValueError for another shape or kind or an empty axis.
    """
    z, t = _expect(z, t)
    N = z.shape[0]
    s = z @ z.T / tau
    logp = s - _logsumexp(np.where(np.arange(N) != np.arange(N)[:, None], s, -np.inf), axis=-1, keepdims=True)
    mask = (t == t[:, None]) & (np.arange(N) != np.arange(N)[:, None])
    positives = mask.sum(axis=-1).astype(z.dtype)
    loss = -(np.where(mask, logp, 0).sum(axis=-1) / positives).sum()
    return loss, Cache(z, t, s, positives, tau)


def backward(dloss, cache, out=None):
    """Return Gradients(dz).

        dlogp[i, p] = -dloss*where(t[p] == t[i] and p != i, 1, 0)/positives[i]
        ds[i, a]    = dlogp[i, a] - where(a != i, softmax[a](where(a != i, s[i, a], -inf)), 0)*sum[p](dlogp[i, p])
        dz[a, d]    = (sum[k](ds[a, k]*z[k, d]) + sum[i](ds[i, a]*z[i, d]))/tau

    dloss: scalar.
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    z, t, s, positives, tau = cache
    N = z.shape[0]
    dloss = _cotangent("dloss", dloss, (), z.dtype)
    dlogp = (-dloss / positives)[:, None] * ((t == t[:, None]) & (np.arange(N) != np.arange(N)[:, None]))
    p = np.where(np.arange(N) != np.arange(N)[:, None], s, -np.inf)
    with np.errstate(invalid="ignore"):  # where() drops these values
        p = np.exp(p - p.max(axis=-1, keepdims=True))
        p /= p.sum(axis=-1, keepdims=True)
    ds = dlogp - dlogp.sum(axis=-1, keepdims=True) * np.where(np.arange(N) != np.arange(N)[:, None], p, 0)
    dz = (ds.T @ z + ds @ z) / tau
    return _into(out, Gradients(dz))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "z": ("Real", ("N", "D")),
    "t": ("Int", ("N",)),
}
_KINDS = {"Real": "f", "Int": "iu"}
# What is undefined where an axis has no elements.
_NONEMPTY = {
    "N": "logsumexp[a]",
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
