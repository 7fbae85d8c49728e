"""Convolution of each channel, layer normalization and a GELU network at each pixel, with a skip connection.

    d[n, c, p, q]    = sum[r, s](w[c, r, s]*padded(x)[n, c, p + r - 3, q + s - 3]) + b[c]
    mu[n, h, w]      = mean[d](d[n, d, h, w])
    tc[n, h, w, d]   = d[n, d, h, w] - mu[n, h, w]
    var[n, h, w]     = mean[d](tc[n, h, w, d]**2)
    rstd[n, h, w]    = 1/sqrt(var[n, h, w] + 1e-06)
    xhat[n, h, w, d] = rstd[n, h, w]*tc[n, h, w, d]
    g[n, h, w, d]    = gamma[d]*xhat[n, h, w, d] + beta[d]
    h_h[n, m, w, o]  = sum[i](w1[i, o]*g[n, m, w, i]) + b1[o]
    a[n, m, w, h]    = 0.5*erfc(-0.5*sqrt(2)*h_h[n, m, w, h])*h_h[n, m, w, h]
    h[n, m, w, o]    = sum[i](w2[i, o]*a[n, m, w, i]) + b2[o]
    y[n, c, i, j]    = scale[c]*h[n, i, j, c] + x[n, c, i, j]

Memory beside arguments, results and cache: forward holds up to about the larger of 4*N*C*H*W + 2*N*H*W and
2*N*H*W*E + 3*N*C*H*W + 2*N*H*W elements, backward the larger of 4*N*H*W*E + N*C*H*W and 2*N*H*W*E + 5*N*C*H*W
+ N*C*(H + 6)*(W + 6).

Source: Liu, Mao, Wu, Feichtenhofer, Darrell & Xie, "A ConvNet for the 2020s", 2022.
"""

# Made by derive 0.1.0 from vision.layer. Do not edit: change the layer file and run
# `derive generate convnext_block`.

import math
from typing import NamedTuple

import numpy as np
from scipy.special import erfc  # NumPy has none


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    w: np.ndarray  # [C, 7, 7]
    gamma: np.ndarray  # [C]
    w1: np.ndarray  # [C, E]
    w2: np.ndarray  # [E, C]
    scale: np.ndarray  # [C]
    x_padded: np.ndarray  # [N, C, H + 6, W + 6]
    rstd: np.ndarray  # [N, H, W]
    xhat: np.ndarray  # [N, H, W, C]
    g: np.ndarray  # [N, H, W, C]
    h_h: np.ndarray  # [N, H, W, E]
    a: np.ndarray  # [N, H, W, E]
    h: np.ndarray  # [N, H, W, C]
    erfc_h_h: np.ndarray  # [N, H, W, E]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [N, C, H, W]
    dw: np.ndarray  # [C, 7, 7]
    db: np.ndarray  # [C]
    dgamma: np.ndarray  # [C]
    dbeta: np.ndarray  # [C]
    dw1: np.ndarray  # [C, E]
    db1: np.ndarray  # [E]
    dw2: np.ndarray  # [E, C]
    db2: np.ndarray  # [C]
    dscale: np.ndarray  # [C]


def forward(x, w, b, gamma, beta, w1, b1, w2, b2, scale):
    """Return (y, cache).

    x, y: [N, C, H, W]; w: [C, 7, 7]; b, gamma, beta, b2, scale: [C]; w1: [C, E]; b1: [E];
    w2: [E, C].
    Raises ValueError for another shape or kind or an empty axis.
    """
    x, w, b, gamma, beta, w1, b1, w2, b2, scale = _expect(x, w, b, gamma, beta, w1, b1, w2, b2, scale)
    dtype = np.result_type(x, w, b, gamma, beta, w1, b1, w2, b2, scale)
    _, _, H, W = x.shape
    x_padded = _pad(x, (3, 3), (3, 3))
    total = np.zeros(x.shape, dtype=dtype)
    for r in range(7):
        for s in range(7):
            total += w[:, r, s, None, None] * x_padded[:, :, r : r + H, s : s + W]
    d = total + b[:, None, None]
    mu = d.mean(axis=1)[:, :, :, None]
    tc = np.moveaxis(d, 1, -1) - mu
    tc -= tc.mean(axis=-1, keepdims=True)
    var = (tc * tc).mean(axis=-1)
    rstd = 1 / np.sqrt(var + 1e-06)
    xhat = rstd[:, :, :, None] * tc
    g = gamma * xhat + beta
    h_h = g @ w1 + b1
    erfc_h_h = erfc(-h_h / math.sqrt(2))
    a = 0.5 * h_h * erfc_h_h
    h = a @ w2 + b2
    y = x + scale[:, None, None] * np.moveaxis(h, -1, 1)
    dtypes = (x.dtype, w.dtype, b.dtype, gamma.dtype, beta.dtype, w1.dtype, b1.dtype, w2.dtype, b2.dtype, scale.dtype)
    return y, Cache(w, gamma, w1, w2, scale, x_padded, rstd, xhat, g, h_h, a, h, erfc_h_h, dtypes)


def backward(dy, cache, out=None):
    """Return Gradients(dx, dw, db, dgamma, dbeta, dw1, db1, dw2, db2, dscale).

        dh[n, m, w, o]    = scale[o]*dy[n, o, m, w]
        da[n, m, w, h]    = sum[o](w2[h, o]*dh[n, m, w, o])
        dh_h[n, m, w, o]  = da[n, m, w, o]*
                            (0.5*sqrt(2)*exp(-0.5*h_h[n, m, w, o]**2)*h_h[n, m, w, o]/sqrt(pi) + 0.5*
                            erfc(-0.5*sqrt(2)*h_h[n, m, w, o]))
        dg[n, h, w, d]    = sum[o](w1[d, o]*dh_h[n, h, w, o])
        dxhat[n, h, w, d] = gamma[d]*dg[n, h, w, d]
        dd[n, c, p, q]    = rstd[n, p, q]*
                            (dxhat[n, p, q, c] - xhat[n, p, q, c]*mean[d](dxhat[n, p, q, d]*xhat[n, p, q, d])
                            - mean[d](dxhat[n, p, q, d]))
        dx[n, c, i, j]    = dy[n, c, i, j]
                            + sum[p, q, r, s](delta(i, p + r - 3)*delta(j, q + s - 3)*w[c, r, s]*dd[n, c, p, q])
        dw[c, r, s]       = sum[n, p, q](dd[n, c, p, q]*padded(x)[n, c, p + r - 3, q + s - 3])
        db[c]             = sum[n, p, q](dd[n, c, p, q])
        dgamma[d]         = sum[n, h, w](dg[n, h, w, d]*xhat[n, h, w, d])
        dbeta[d]          = sum[n, h, w](dg[n, h, w, d])
        dw1[i, o]         = sum[n, m, w](dh_h[n, m, w, o]*g[n, m, w, i])
        db1[o]            = sum[n, m, w](dh_h[n, m, w, o])
        dw2[i, o]         = sum[n, m, w](a[n, m, w, i]*dh[n, m, w, o])
        db2[o]            = sum[n, m, w](dh[n, m, w, o])
        dscale[c]         = sum[n, i, j](dy[n, c, i, j]*h[n, i, j, c])

    dy: [N, C, H, W].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    w, gamma, w1, w2, scale, x_padded, rstd, xhat, g, h_h, a, h, erfc_h_h, dtypes = cache
    N = x_padded.shape[0]
    C = w.shape[0]
    _, H, W = rstd.shape
    E = w1.shape[1]
    dy = _cotangent("dy", dy, (N, C, H, W), np.result_type(*dtypes))
    dh = scale * np.moveaxis(dy, 1, -1)
    da = dh @ w2.T
    dh_h = da * (0.5 * erfc_h_h + h_h * np.exp(-0.5 * h_h * h_h) / math.sqrt(2 * np.pi))
    dg = dh_h @ w1.T
    dxhat = gamma * dg
    dd = (
        np.moveaxis(dxhat, -1, 1)
        - dxhat.mean(axis=-1)[:, None, :, :]
        - (xhat * dxhat).mean(axis=-1)[:, None, :, :] * np.moveaxis(xhat, -1, 1)
    )
    dd *= rstd[:, None, :, :]
    dx = dy.copy()
    dx_padded = np.zeros(x_padded.shape, dtype=dy.dtype)
    for r in range(7):
        for s in range(7):
            dx_padded[:, :, r : r + H, s : s + W] += w[:, r, s, None, None] * dd
    dx += _pad(dx_padded, (-3, -3), (-3, -3))
    dw = np.empty(w.shape, dtype=dy.dtype)
    for r in range(7):
        for s in range(7):
            dw[:, r, s] = (x_padded[:, :, r : r + H, s : s + W] * dd).sum(axis=(0, 2, 3))
    db = dd.sum(axis=(0, 2, 3))
    dgamma = (xhat * dg).sum(axis=(0, 1, 2))
    dbeta = dg.sum(axis=(0, 1, 2))
    dw1 = g.reshape(N * H * W, C).T @ dh_h.reshape(N * H * W, E)
    db1 = dh_h.sum(axis=(0, 1, 2))
    dw2 = a.reshape(N * H * W, E).T @ dh.reshape(N * H * W, C)
    db2 = dh.sum(axis=(0, 1, 2))
    dscale = (dy * np.moveaxis(h, -1, 1)).sum(axis=(0, 2, 3))
    return _into(out, Gradients(*map(np.asarray, (dx, dw, db, dgamma, dbeta, dw1, db1, dw2, db2, dscale), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("N", "C", "H", "W")),
    "w": ("Real", ("C", 7, 7)),
    "b": ("Real", ("C",)),
    "gamma": ("Real", ("C",)),
    "beta": ("Real", ("C",)),
    "w1": ("Real", ("C", "E")),
    "b1": ("Real", ("E",)),
    "w2": ("Real", ("E", "C")),
    "b2": ("Real", ("C",)),
    "scale": ("Real", ("C",)),
}
_KINDS = {"Real": "f"}
# What is undefined where an axis has no elements.
_NONEMPTY = {
    "C": "mean[d]",
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


def _pad(x, *widths, fill=0):
    """Return x with so many elements of fill before and after the last axes, a pair each; below 0 they are cut off."""
    cut, place, shape = [...], [...], list(x.shape)
    for axis, (before, after) in enumerate(widths, x.ndim - len(widths)):
        length = x.shape[axis]
        first = min(max(-before, 0), length)
        last = max(min(length + after, length), first)
        cut.append(slice(first, last))
        place.append(slice(first + before, last + before))
        shape[axis] += before + after
    inside = x[tuple(cut)]
    if inside.shape == tuple(shape):
        return inside
    padded = np.full(shape, fill, dtype=x.dtype)
    padded[tuple(place)] = inside
    return padded
