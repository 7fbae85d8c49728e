"""Graph attention with H heads; the adjacency matrix has self-loops.

    h[n, k, o]     = sum[i](x[n, i]*w[i, k, o])
    src[n, k]      = sum[o](asrc[k, o]*h[n, k, o])
    dst[n, k]      = sum[o](adst[k, o]*h[n, k, o])
    total[i, j, k] = dst[j, k] + src[i, k]
    score[i, j, k] = where(dst[j, k] + src[i, k] > 0, total[i, j, k], slope*total[i, j, k])
    alpha[i, j, k] = softmax[j](where(adj[i, j], score[i, j, k], -inf))
    y[i, k, o]     = sum[j](alpha[i, j, k]*h[j, k, o])

Source: Veličković, Cucurull, Casanova, Romero, Liò & Bengio, "Graph Attention Networks", 2018.
"""

# Made by derive 0.1.0 from graph.layer. Do not edit: change the layer file and run
# `derive generate gat`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [N, I]
    w: np.ndarray  # [I, H, O]
    asrc: np.ndarray  # [H, O]
    adst: np.ndarray  # [H, O]
    h: np.ndarray  # [N, H, O]
    src: np.ndarray  # [N, 1, H]
    dst: np.ndarray  # [N, H]
    alpha: np.ndarray  # [N, N, H]
    y: np.ndarray  # [N, H, O]
    slope: float
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [N, I]
    dw: np.ndarray  # [I, H, O]
    dasrc: np.ndarray  # [H, O]
    dadst: np.ndarray  # [H, O]


def forward(x, adj, w, asrc, adst, *, slope=0.2):
    """Return (y, cache).

    x: [N, I]; adj: [N, N] booleans; w: [I, H, O]; asrc, adst: [H, O]; y: [N, H, O].
    Raises ValueError for another shape or kind or an empty axis.
    """
    x, adj, w, asrc, adst = _expect(x, adj, w, asrc, adst)
    h = np.tensordot(x, w, axes=1)
    src = np.einsum("nko,ko->nk", h, asrc)[:, None, :]
    dst = np.einsum("nko,ko->nk", h, adst)
    total = src + dst
    score = np.where(total > 0, total, slope * total)
    alpha = np.where(adj[:, :, None], score, -np.inf)
    alpha = np.exp(alpha - alpha.max(axis=1, keepdims=True))
    alpha /= alpha.sum(axis=1, keepdims=True)
    y = np.swapaxes(np.moveaxis(alpha, -1, 0) @ np.swapaxes(h, 0, 1), 0, 1)
    dtypes = (x.dtype, w.dtype, asrc.dtype, adst.dtype)
    return y, Cache(x, w, asrc, adst, h, src, dst, alpha, y, slope, dtypes)


def backward(dy, cache, out=None):
    """Return Gradients(dx, dw, dasrc, dadst).

        dalpha[i, j, k] = sum[o](dy[i, k, o]*h[j, k, o])
        dtotal[i, j, k] = where(dst[j, k] + src[i, k] > 0, 1, slope)*alpha[i, j, k]*
                          (dalpha[i, j, k] - sum[o](dy[i, k, o]*y[i, k, o]))
        ddst[n, k]      = sum[i](dtotal[i, n, k])
        dsrc[n, k]      = sum[j](dtotal[n, j, k])
        dh[n, k, o]     = adst[k, o]*ddst[n, k] + asrc[k, o]*dsrc[n, k] + sum[i](alpha[i, n, k]*dy[i, k, o])
        dx[n, i]        = sum[k, o](dh[n, k, o]*w[i, k, o])
        dw[i, k, o]     = sum[n](x[n, i]*dh[n, k, o])
        dasrc[k, o]     = sum[n](dsrc[n, k]*h[n, k, o])
        dadst[k, o]     = sum[n](ddst[n, k]*h[n, k, o])

    dy: [N, H, O].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x, w, asrc, adst, h, src, dst, alpha, y, slope, dtypes = cache
    dy = _cotangent("dy", dy, h.shape, np.result_type(*dtypes))
    dalpha = np.moveaxis(np.swapaxes(dy, 0, 1) @ np.moveaxis(h, 0, -1), 0, -1)
    dtotal = alpha * np.where(src + dst > 0, 1, slope).astype(dy.dtype) * (dalpha - (dy * y).sum(axis=-1)[:, None, :])
    ddst = dtotal.sum(axis=0)
    dsrc = dtotal.sum(axis=1)
    dh = (
        np.swapaxes(np.swapaxes(alpha, 0, -1) @ np.swapaxes(dy, 0, 1), 0, 1)
        + asrc * dsrc[:, :, None]
        + adst * ddst[:, :, None]
    )
    dx = np.einsum("nko,iko->ni", dh, w, optimize=True)
    dw = np.einsum("ni,nko->iko", x, dh, optimize=True)
    dasrc = np.einsum("nko,nk->ko", h, dsrc)
    dadst = np.einsum("nko,nk->ko", h, ddst)
    return _into(out, Gradients(*map(np.asarray, (dx, dw, dasrc, dadst), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("N", "I")),
    "adj": ("Bool", ("N", "N")),
    "w": ("Real", ("I", "H", "O")),
    "asrc": ("Real", ("H", "O")),
    "adst": ("Real", ("H", "O")),
}
_KINDS = {"Real": "f", "Bool": "b"}
# What is undefined where an axis has no elements.
_NONEMPTY = {
    "N": "softmax[j]",
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
