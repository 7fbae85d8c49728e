"""Batch normalization of images: one mean and variance a channel, over batch and pixels.

    mu[c]            = mean[n, i, j](x[n, c, i, j])
    xc[n, c, i, j]   = x[n, c, i, j] - mu[c]
    var[c]           = mean[n, i, j](xc[n, c, i, j]**2)
    rstd[c]          = 1/sqrt(var[c] + eps)
    xhat[n, c, i, j] = rstd[c]*xc[n, c, i, j]
    y[n, c, i, j]    = gamma[c]*xhat[n, c, i, j] + beta[c]

Source: Ioffe & Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal
Covariate Shift", 2015.
"""

# Made by derive 0.1.0 from normalization.layer. Do not edit: change the layer file and run
# `derive generate batchnorm2d`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    gamma: np.ndarray  # [C]
    rstd: np.ndarray  # [C, 1, 1]
    xhat: np.ndarray  # [N, C, H, W]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [N, C, H, W]
    dgamma: np.ndarray  # [C]
    dbeta: np.ndarray  # [C]


def forward(x, gamma, beta, *, eps=1e-05):
    """Return (y, cache).

    x, y: [N, C, H, W]; gamma, beta: [C].
    Raises ValueError for another shape or kind or an empty axis.
    """
    x, gamma, beta = _expect(x, gamma, beta)
    mu = x.mean(axis=(0, 2, 3), keepdims=True)
    xc = x - mu
    xc -= xc.mean(axis=(0, 2, 3), keepdims=True)
    var = (xc * xc).mean(axis=(0, 2, 3), keepdims=True)
    rstd = 1 / np.sqrt(var + eps)
    xhat = rstd * xc
    y = gamma[:, None, None] * xhat + beta[:, None, None]
    dtypes = (x.dtype, gamma.dtype, beta.dtype)
    return y, Cache(gamma, rstd, xhat, dtypes)


def backward(dy, cache, out=None):
    """Return Gradients(dx, dgamma, dbeta).

        dgamma[c]      = sum[n, i, j](dy[n, c, i, j]*xhat[n, c, i, j])
        dbeta[c]       = sum[n, i, j](dy[n, c, i, j])
        dx[n, c, i, j] = gamma[c]*rstd[c]*(H*N*W*dy[n, c, i, j] - dgamma[c]*xhat[n, c, i, j] - dbeta[c])/(H*N*W)

    dy: [N, C, H, W].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    gamma, rstd, xhat, dtypes = cache
    N, _, H, W = xhat.shape
    dy = _cotangent("dy", dy, xhat.shape, np.result_type(*dtypes))
    dgamma = (dy * xhat).sum(axis=(0, 2, 3))
    dbeta = dy.sum(axis=(0, 2, 3))
    dx = (
        gamma[:, None, None]
        * rstd
        / (N * H * W)
        * (N * H * W * dy - dbeta[:, None, None] - dgamma[:, None, None] * xhat)
    )
    return _into(out, Gradients(*map(np.asarray, (dx, dgamma, dbeta), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("N", "C", "H", "W")),
    "gamma": ("Real", ("C",)),
    "beta": ("Real", ("C",)),
}
_KINDS = {"Real": "f"}
# What is undefined where an axis has no elements.
_NONEMPTY = {
    "N": "mean[n]",
    "H": "mean[i]",
    "W": "mean[j]",
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
