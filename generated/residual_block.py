"""Two convolutions with batch normalization, and a skip connection around them.

    a[n, f, p, q]      = sum[c, r, s](w1[f, c, r, s]*padded(x)[n, c, p + r - 1, q + s - 1]) + b1[f]
    mu[c]              = mean[n, i, j](a[n, c, i, j])
    ac[n, c, i, j]     = a[n, c, i, j] - mu[c]
    var[c]             = mean[n, i, j](ac[n, c, i, j]**2)
    rstd[c]            = 1/sqrt(var[c] + 1e-05)
    xhat[n, c, i, j]   = rstd[c]*ac[n, c, i, j]
    c[n, c, i, j]      = gamma1[c]*xhat[n, c, i, j] + beta1[c]
    h[n, c, h, w]      = where(c[n, c, h, w] > 0, c[n, c, h, w], 0)
    e1[n, f, p, q]     = sum[c, r, s](w2[f, c, r, s]*padded(h)[n, c, p + r - 1, q + s - 1]) + b2[f]
    g_mu[c]            = mean[n, i, j](e1[n, c, i, j])
    e1c[n, c, i, j]    = e1[n, c, i, j] - g_mu[c]
    g_var[c]           = mean[n, i, j](e1c[n, c, i, j]**2)
    rstd2[c]           = 1/sqrt(g_var[c] + 1e-05)
    g_xhat[n, c, i, j] = rstd2[c]*e1c[n, c, i, j]
    g[n, c, i, j]      = gamma2[c]*g_xhat[n, c, i, j] + beta2[c]
    s[n, c, h, w]      = g[n, c, h, w] + x[n, c, h, w]
    y[n, c, h, w]      = where(s[n, c, h, w] > 0, s[n, c, h, w], 0)

Memory beside arguments, results and cache: forward holds up to about 14*N*C*H*W elements, backward the larger
of 13*N*C*H*W + N*C*(H + 2)*(W + 2) + 9*C**2 and 14*N*C*H*W + 2*N*C*(H + 2)*(W + 2).

Source: He, Zhang, Ren & Sun, "Deep Residual Learning for Image Recognition", 2016.
"""

# Made by derive 0.1.0 from vision.layer. Do not edit: change the layer file and run
# `derive generate residual_block`.

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    w1: np.ndarray  # [C, C, 3, 3]
    gamma1: np.ndarray  # [C]
    w2: np.ndarray  # [C, C, 3, 3]
    gamma2: np.ndarray  # [C]
    x_padded: np.ndarray  # [N, C, H + 2, W + 2]
    rstd: np.ndarray  # [C, 1, 1]
    xhat: np.ndarray  # [N, C, H, W]
    h: np.ndarray  # [N, C, H, W]
    h_padded: np.ndarray  # [N, C, H + 2, W + 2]
    rstd2: np.ndarray  # [C, 1, 1]
    g_xhat: np.ndarray  # [N, C, H, W]
    y: np.ndarray  # [N, C, H, W]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [N, C, H, W]
    dw1: np.ndarray  # [C, C, 3, 3]
    db1: np.ndarray  # [C]
    dgamma1: np.ndarray  # [C]
    dbeta1: np.ndarray  # [C]
    dw2: np.ndarray  # [C, C, 3, 3]
    db2: np.ndarray  # [C]
    dgamma2: np.ndarray  # [C]
    dbeta2: np.ndarray  # [C]


def forward(x, w1, b1, gamma1, beta1, w2, b2, gamma2, beta2):
    """Return (y, cache).

    x, y: [N, C, H, W]; w1, w2: [C, C, 3, 3]; b1, gamma1, beta1, b2, gamma2, beta2: [C].
    Raises ValueError for another shape or kind or an empty axis.
    """
    x, w1, b1, gamma1, beta1, w2, b2, gamma2, beta2 = _expect(x, w1, b1, gamma1, beta1, w2, b2, gamma2, beta2)
    N, C, H, W = x.shape
    x_padded = _pad(x, (1, 1), (1, 1))
    x_windows = sliding_window_view(x_padded, (3, 3), axis=(2, 3))
    x_columns = x_windows.transpose(0, 1, 4, 5, 2, 3).reshape(N, 9 * C, H * W)
    a = (w1.reshape(C, 9 * C) @ x_columns).reshape(N, C, H, W) + b1[:, None, None]
    del x_columns
    mu = a.mean(axis=(0, 2, 3), keepdims=True)
    ac = a - mu
    ac -= ac.mean(axis=(0, 2, 3), keepdims=True)
    var = (ac * ac).mean(axis=(0, 2, 3), keepdims=True)
    rstd = 1 / np.sqrt(var + 1e-05)
    xhat = rstd * ac
    c = gamma1[:, None, None] * xhat + beta1[:, None, None]
    h = np.maximum(c, 0)
    h_padded = _pad(h, (1, 1), (1, 1))
    h_windows = sliding_window_view(h_padded, (3, 3), axis=(2, 3))
    h_columns = h_windows.transpose(0, 1, 4, 5, 2, 3).reshape(N, 9 * C, H * W)
    e1 = (w2.reshape(C, 9 * C) @ h_columns).reshape(N, C, H, W) + b2[:, None, None]
    del h_columns
    g_mu = e1.mean(axis=(0, 2, 3), keepdims=True)
    e1c = e1 - g_mu
    e1c -= e1c.mean(axis=(0, 2, 3), keepdims=True)
    g_var = (e1c * e1c).mean(axis=(0, 2, 3), keepdims=True)
    rstd2 = 1 / np.sqrt(g_var + 1e-05)
    g_xhat = rstd2 * e1c
    g = gamma2[:, None, None] * g_xhat + beta2[:, None, None]
    s = x + g
    y = np.maximum(s, 0)
    dtypes = (x.dtype, w1.dtype, b1.dtype, gamma1.dtype, beta1.dtype, w2.dtype, b2.dtype, gamma2.dtype, beta2.dtype)
    return y, Cache(w1, gamma1, w2, gamma2, x_padded, rstd, xhat, h, h_padded, rstd2, g_xhat, y, dtypes)


def backward(dy, cache, out=None):
    """Return Gradients(dx, dw1, db1, dgamma1, dbeta1, dw2, db2, dgamma2, dbeta2).

        ds[n, c, h, w]  = where(y[n, c, h, w] > 0, 1, 0)*dy[n, c, h, w]
        dgamma2[c]      = sum[n, i, j](ds[n, c, i, j]*g_xhat[n, c, i, j])
        dbeta2[c]       = sum[n, i, j](ds[n, c, i, j])
        de1[n, f, p, q] = gamma2[f]*rstd2[f]*
                          (H*N*W*ds[n, f, p, q] - dgamma2[f]*g_xhat[n, f, p, q] - dbeta2[f])/(H*N*W)
        dh[n, c, h, w]  = sum[f, p, q, r, s](delta(h, p + r - 1)*delta(w, q + s - 1)*de1[n, f, p, q]*
                          w2[f, c, r, s])
        dc[n, c, i, j]  = where(h[n, c, i, j] > 0, 1, 0)*dh[n, c, i, j]
        dgamma1[c]      = sum[n, i, j](dc[n, c, i, j]*xhat[n, c, i, j])
        dbeta1[c]       = sum[n, i, j](dc[n, c, i, j])
        da[n, f, p, q]  = gamma1[f]*rstd[f]*
                          (H*N*W*dc[n, f, p, q] - dgamma1[f]*xhat[n, f, p, q] - dbeta1[f])/(H*N*W)
        dx[n, c, h, w]  = ds[n, c, h, w]
                          + sum[f, p, q, r, s](delta(h, p + r - 1)*delta(w, q + s - 1)*da[n, f, p, q]*
                          w1[f, c, r, s])
        dw1[f, c, r, s] = sum[n, p, q](da[n, f, p, q]*padded(x)[n, c, p + r - 1, q + s - 1])
        db1[f]          = 0
        dw2[f, c, r, s] = sum[n, p, q](de1[n, f, p, q]*padded(h)[n, c, p + r - 1, q + s - 1])
        db2[f]          = 0

    dy: [N, C, H, W].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    w1, gamma1, w2, gamma2, x_padded, rstd, xhat, h, h_padded, rstd2, g_xhat, y, dtypes = cache
    _, _, H, W = xhat.shape
    N = x_padded.shape[0]
    C = w1.shape[0]
    dy = _cotangent("dy", dy, xhat.shape, np.result_type(*dtypes))
    ds = dy * (y > 0)
    dgamma2 = (g_xhat * ds).sum(axis=(0, 2, 3))
    dbeta2 = ds.sum(axis=(0, 2, 3))
    de1 = (
        gamma2[:, None, None]
        * rstd2
        / (N * H * W)
        * (N * H * W * ds - dbeta2[:, None, None] - dgamma2[:, None, None] * g_xhat)
    )
    dh_columns = (np.moveaxis(w2, 1, -1).reshape(C, 9 * C).T @ de1.reshape(N, C, H * W)).reshape(N, 3, 3, C, H, W)
    dh_padded = np.zeros(x_padded.shape, dtype=dy.dtype)
    for r in range(3):
        for s2 in range(3):
            dh_padded[:, :, r : r + H, s2 : s2 + W] += dh_columns[:, r, s2]
    del dh_columns
    dh = _pad(dh_padded, (-1, -1), (-1, -1))
    dc = dh * (h > 0)
    dgamma1 = (xhat * dc).sum(axis=(0, 2, 3))
    dbeta1 = dc.sum(axis=(0, 2, 3))
    da = (
        gamma1[:, None, None]
        * rstd
        / (N * H * W)
        * (N * H * W * dc - dbeta1[:, None, None] - dgamma1[:, None, None] * xhat)
    )
    dx = ds.copy()
    dx_columns = (np.moveaxis(w1, 1, -1).reshape(C, 9 * C).T @ da.reshape(N, C, H * W)).reshape(N, 3, 3, C, H, W)
    dx_padded = np.zeros(x_padded.shape, dtype=dy.dtype)
    for r in range(3):
        for s2 in range(3):
            dx_padded[:, :, r : r + H, s2 : s2 + W] += dx_columns[:, r, s2]
    del dx_columns
    dx += _pad(dx_padded, (-1, -1), (-1, -1))
    x_windows = sliding_window_view(x_padded, (3, 3), axis=(2, 3))
    x_columns = x_windows.transpose(1, 4, 5, 0, 2, 3).reshape(9 * C, N * H * W)
    dw1 = (np.swapaxes(da, 0, 1).reshape(C, N * H * W) @ x_columns.T).reshape(C, C, 3, 3)
    del x_columns
    db1 = np.zeros(gamma1.shape, dtype=dy.dtype)
    h_windows = sliding_window_view(h_padded, (3, 3), axis=(2, 3))
    h_columns = h_windows.transpose(1, 4, 5, 0, 2, 3).reshape(9 * C, N * H * W)
    dw2 = (np.swapaxes(de1, 0, 1).reshape(C, N * H * W) @ h_columns.T).reshape(C, C, 3, 3)
    del h_columns
    db2 = np.zeros(gamma1.shape, dtype=dy.dtype)
    return _into(out, Gradients(*map(np.asarray, (dx, dw1, db1, dgamma1, dbeta1, dw2, db2, dgamma2, dbeta2), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("N", "C", "H", "W")),
    "w1": ("Real", ("C", "C", 3, 3)),
    "b1": ("Real", ("C",)),
    "gamma1": ("Real", ("C",)),
    "beta1": ("Real", ("C",)),
    "w2": ("Real", ("C", "C", 3, 3)),
    "b2": ("Real", ("C",)),
    "gamma2": ("Real", ("C",)),
    "beta2": ("Real", ("C",)),
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
