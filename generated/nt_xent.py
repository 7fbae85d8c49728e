"""Normalized, temperature-scaled cross-entropy of two views of each sample, which lie on the axis of 2.

    norm_x[n, a]  = norm[k](x[n, a, k])
    z[n, a, d]    = x[n, a, d]/norm_x[n, a]
    s[n, a, m, b] = sum[d](z[m, b, d]*z[n, a, d])/tau
    others[n, a]  = logsumexp[m, b](where(m == n and a == b, -inf, s[n, a, m, b]))
    loss          = 0.5*mean[n](others[n, 0] + others[n, 1] - 2*s[n, 0, n, 1])

Source: Chen, Kornblith, Norouzi & Hinton, "A Simple Framework for Contrastive Learning of Visual
Representations", 2020.
"""

# Made by derive 0.1.0 from contrastive.layer. Do not edit: change the layer file and run
# `derive generate nt_xent`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [N, 2, D]
    norm_x: np.ndarray  # [N, 2, 1]
    z: np.ndarray  # [N, 2, D]
    s: np.ndarray  # [N, 2, N, 2]
    tau: float


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [N, 2, D]


def forward(x, *, tau=0.5):
    """Return (loss, cache).

    x: [N, 2, D]; loss: scalar.
    Raises ValueError for another shape or kind or an empty axis.
    """
    x = _expect(x)
    N = x.shape[0]
    norm_x = _norm(x, axis=-1, keepdims=True)
    z = x / norm_x
    s = np.einsum("nad,mbd->namb", z, z, optimize=True) / tau
    others = np.arange(N)[:, None] == np.arange(N)[:, None, None, None]
    others = _logsumexp(np.where(others & (np.arange(2)[:, None, None] == np.arange(2)), -np.inf, s), axis=(2, 3))
    loss = 0.5 * (others[:, 0] + others[:, 1] - 2 * s[np.arange(N), 0, np.arange(N), 1]).mean()
    return loss, Cache(x, norm_x, z, s, tau)


def backward(dloss, cache, out=None):
    """Return Gradients(dx).

        dothers[n, a]  = 0.5*dloss*(delta(0, a) + delta(1, a))/N
        ds[n, a, m, b] = dothers[n, a]*
                         where(m == n and a == b, 0, softmax[m, b](where(m == n and a == b, -inf, s[n, a, m, b])))
                         - dloss*delta(0, a)*delta(1, b)*delta(m, n)/N
        dz[n, a, d]    = (sum[m, b](z[m, b, d]*ds[n, a, m, b]) + sum[m, k](z[m, k, d]*ds[m, k, n, a]))/tau
        dnorm_x[n, a]  = -sum[d](dz[n, a, d]*x[n, a, d])/norm_x[n, a]**2
        dx[n, a, k]    = dz[n, a, k]/norm_x[n, a] + dnorm_x[n, a]*x[n, a, k]
                         /where(norm_x[n, a] == 0, 1, norm_x[n, a])

    dloss: scalar.
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x, norm_x, z, s, tau = cache
    N, _, D = x.shape
    dloss = _cotangent("dloss", dloss, (), x.dtype)
    dothers = np.zeros((2,), dtype=dloss.dtype)
    dothers[0] = 0.5 / N * dloss
    dothers[1] = 0.5 / N * dloss
    p = np.arange(N)[:, None] == np.arange(N)[:, None, None, None]
    p = np.where(p & (np.arange(2)[:, None, None] == np.arange(2)), -np.inf, s)
    with np.errstate(invalid="ignore"):  # where() drops these values
        p = np.exp(p - p.max(axis=(2, 3), keepdims=True))
        p /= p.sum(axis=(2, 3), keepdims=True)
    ds = np.arange(N)[:, None] == np.arange(N)[:, None, None, None]
    ds = dothers[:, None, None] * np.where(ds & (np.arange(2)[:, None, None] == np.arange(2)), 0, p)
    ds[np.arange(N), 0, np.arange(N), 1] -= dloss / N
    dz = np.einsum("bna,bd->nad", ds.reshape(2 * N, N, 2), z.reshape(2 * N, D), optimize=True)
    dz = (np.tensordot(ds, z, axes=2) + dz) / tau
    dnorm_x = -((x * dz).sum(axis=-1, keepdims=True) / (norm_x * norm_x))
    dx = dnorm_x / np.where(norm_x == 0, 1, norm_x) * x + dz / norm_x
    return _into(out, Gradients(dx))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("N", 2, "D")),
}
_KINDS = {"Real": "f"}
# What is undefined where an axis has no elements.
_NONEMPTY = {
    "N": "logsumexp[m]",
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
            sizes.setdefault(axis, (axis if isinstance(axis, int) else length, f"{name} {array.shape}"))
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


def _logsumexp(x, axis=None, keepdims=False):
    """Return log(sum(exp(x))) with the largest element taken out; -inf where all elements are -inf."""
    top = x.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0).astype(x.dtype)
    with np.errstate(divide="ignore"):  # log(0) = -inf
        result = top + np.log(np.exp(x - top).sum(axis=axis, keepdims=True))
    return result if keepdims else result.squeeze(axis)
