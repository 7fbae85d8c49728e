"""Channels are expanded, convolved by themselves and brought together again, with a skip connection.

    a[n, f, i, j]       = sum[c](w1[f, c]*x[n, c, i, j]) + b1[f]
    mu[c]               = mean[n, i, j](a[n, c, i, j])
    ac[n, c, i, j]      = a[n, c, i, j] - mu[c]
    var[c]              = mean[n, i, j](ac[n, c, i, j]**2)
    rstd[c]             = 1/sqrt(var[c] + 1e-05)
    xhat[n, c, i, j]    = rstd[c]*ac[n, c, i, j]
    an[n, c, i, j]      = gamma1[c]*xhat[n, c, i, j] + beta1[c]
    h[n, e, h, w]       = where(an[n, e, h, w] < 6, relu(an[n, e, h, w]), 6)
    d[n, c, p, q]       = sum[r, s](w2[c, r, s]*padded(h)[n, c, p + r - 1, q + s - 1]) + b2[c]
    dn_mu[c]            = mean[n, i, j](d[n, c, i, j])
    dc[n, c, i, j]      = d[n, c, i, j] - dn_mu[c]
    dn_var[c]           = mean[n, i, j](dc[n, c, i, j]**2)
    rstd2[c]            = 1/sqrt(dn_var[c] + 1e-05)
    dn_xhat[n, c, i, j] = rstd2[c]*dc[n, c, i, j]
    dn[n, c, i, j]      = gamma2[c]*dn_xhat[n, c, i, j] + beta2[c]
    g[n, e, h, w]       = where(dn[n, e, h, w] < 6, relu(dn[n, e, h, w]), 6)
    f[n, f, i, j]       = sum[c](w3[f, c]*g[n, c, i, j]) + b3[f]
    z_mu[c]             = mean[n, i, j](f[n, c, i, j])
    fc[n, c, i, j]      = f[n, c, i, j] - z_mu[c]
    z_var[c]            = mean[n, i, j](fc[n, c, i, j]**2)
    rstd3[c]            = 1/sqrt(z_var[c] + 1e-05)
    z_xhat[n, c, i, j]  = rstd3[c]*fc[n, c, i, j]
    z[n, c, i, j]       = gamma3[c]*z_xhat[n, c, i, j] + beta3[c]
    y[n, c, h, w]       = x[n, c, h, w] + z[n, c, h, w]

Memory beside arguments, results and cache: forward holds up to about the largest of 8*N*H*W*E, 7*N*H*W*E +
N*C*H*W + C*E and 4*N*C*H*W + 6*N*H*W*E elements, backward 3*N*C*H*W + 7*N*H*W*E + N*(H + 2)*(W + 2)*E + C*E.

Source: Sandler, Howard, Zhu, Zhmoginov & Chen, "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
2018.
"""

# Made by derive 0.1.0 from vision.layer. Do not edit: change the layer file and run
# `derive generate inverted_bottleneck`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [N, C, H, W]
    w1: np.ndarray  # [E, C]
    gamma1: np.ndarray  # [E]
    w2: np.ndarray  # [E, 3, 3]
    gamma2: np.ndarray  # [E]
    w3: np.ndarray  # [C, E]
    gamma3: np.ndarray  # [C]
    rstd: np.ndarray  # [E, 1, 1]
    xhat: np.ndarray  # [N, E, H, W]
    an: np.ndarray  # [N, E, H, W]
    h_padded: np.ndarray  # [N, E, H + 2, W + 2]
    rstd2: np.ndarray  # [E, 1, 1]
    dn_xhat: np.ndarray  # [N, E, H, W]
    dn: np.ndarray  # [N, E, H, W]
    g: np.ndarray  # [N, E, H, W]
    rstd3: np.ndarray  # [C, 1, 1]
    z_xhat: np.ndarray  # [N, C, H, W]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [N, C, H, W]
    dw1: np.ndarray  # [E, C]
    db1: np.ndarray  # [E]
    dgamma1: np.ndarray  # [E]
    dbeta1: np.ndarray  # [E]
    dw2: np.ndarray  # [E, 3, 3]
    db2: np.ndarray  # [E]
    dgamma2: np.ndarray  # [E]
    dbeta2: np.ndarray  # [E]
    dw3: np.ndarray  # [C, E]
    db3: np.ndarray  # [C]
    dgamma3: np.ndarray  # [C]
    dbeta3: np.ndarray  # [C]


def forward(x, w1, b1, gamma1, beta1, w2, b2, gamma2, beta2, w3, b3, gamma3, beta3):
    """Return (y, cache).

    x, y: [N, C, H, W]; w1: [E, C]; b1, gamma1, beta1, b2, gamma2, beta2: [E]; w2: [E, 3,
    3]; w3: [C, E]; b3, gamma3, beta3: [C].
    Raises ValueError for another shape or kind or an empty axis.
    """
    x, w1, b1, gamma1, beta1, w2, b2, gamma2, beta2, w3, b3, gamma3, beta3 = _expect(
        x, w1, b1, gamma1, beta1, w2, b2, gamma2, beta2, w3, b3, gamma3, beta3
    )
    dtype = np.result_type(x, w1, b1, gamma1, beta1, w2, b2, gamma2, beta2, w3, b3, gamma3, beta3)
    N, _, H, W = x.shape
    E = w1.shape[0]
    a = np.einsum("ncij,fc->nfij", x, w1, optimize=True) + b1[:, None, None]
    mu = a.mean(axis=(0, 2, 3), keepdims=True)
    ac = a - mu
    ac -= ac.mean(axis=(0, 2, 3), keepdims=True)
    var = (ac * ac).mean(axis=(0, 2, 3), keepdims=True)
    rstd = 1 / np.sqrt(var + 1e-05)
    xhat = rstd * ac
    an = gamma1[:, None, None] * xhat + beta1[:, None, None]
    h = np.where(an < 6, np.maximum(an, 0), 6)
    h_padded = _pad(h, (1, 1), (1, 1))
    total = np.zeros((N, E, H, W), dtype=dtype)
    for r in range(3):
        for s in range(3):
            total += w2[:, r, s, None, None] * h_padded[:, :, r : r + H, s : s + W]
    d = total + b2[:, None, None]
    dn_mu = d.mean(axis=(0, 2, 3), keepdims=True)
    dc = d - dn_mu
    dc -= dc.mean(axis=(0, 2, 3), keepdims=True)
    dn_var = (dc * dc).mean(axis=(0, 2, 3), keepdims=True)
    rstd2 = 1 / np.sqrt(dn_var + 1e-05)
    dn_xhat = rstd2 * dc
    dn = gamma2[:, None, None] * dn_xhat + beta2[:, None, None]
    g = np.where(dn < 6, np.maximum(dn, 0), 6)
    f = np.einsum("ncij,fc->nfij", g, w3, optimize=True) + b3[:, None, None]
    z_mu = f.mean(axis=(0, 2, 3), keepdims=True)
    fc = f - z_mu
    fc -= fc.mean(axis=(0, 2, 3), keepdims=True)
    z_var = (fc * fc).mean(axis=(0, 2, 3), keepdims=True)
    rstd3 = 1 / np.sqrt(z_var + 1e-05)
    z_xhat = rstd3 * fc
    z = gamma3[:, None, None] * z_xhat + beta3[:, None, None]
    y = x + z
    dtypes = (
        x.dtype,
        w1.dtype,
        b1.dtype,
        gamma1.dtype,
        beta1.dtype,
        w2.dtype,
        b2.dtype,
        gamma2.dtype,
        beta2.dtype,
        w3.dtype,
        b3.dtype,
        gamma3.dtype,
        beta3.dtype,
    )
    return y, Cache(
        x, w1, gamma1, w2, gamma2, w3, gamma3, rstd, xhat, an, h_padded, rstd2, dn_xhat, dn, g, rstd3, z_xhat, dtypes
    )


def backward(dy, cache, out=None):
    """Return Gradients(dx, dw1, db1, dgamma1, dbeta1, dw2, db2, dgamma2, dbeta2, dw3, db3, dgamma3, dbeta3).

        dgamma3[c]      = sum[n, i, j](dy[n, c, i, j]*z_xhat[n, c, i, j])
        dbeta3[c]       = sum[n, i, j](dy[n, c, i, j])
        df[n, f, i, j]  = gamma3[f]*rstd3[f]*
                          (H*N*W*dy[n, f, i, j] - dgamma3[f]*z_xhat[n, f, i, j] - dbeta3[f])/(H*N*W)
        dg[n, e, h, w]  = sum[f](w3[f, e]*df[n, f, h, w])
        ddn[n, c, i, j] = where(dn[n, c, i, j] < 6, dn[n, c, i, j] > 0, 0)*dg[n, c, i, j]
        dgamma2[c]      = sum[n, i, j](ddn[n, c, i, j]*dn_xhat[n, c, i, j])
        dbeta2[c]       = sum[n, i, j](ddn[n, c, i, j])
        dd[n, c, p, q]  = gamma2[c]*rstd2[c]*
                          (H*N*W*ddn[n, c, p, q] - dgamma2[c]*dn_xhat[n, c, p, q] - dbeta2[c])/(H*N*W)
        dh[n, e, h, w]  = sum[p, q, r, s](delta(h, p + r - 1)*delta(w, q + s - 1)*w2[e, r, s]*dd[n, e, p, q])
        dan[n, c, i, j] = where(an[n, c, i, j] < 6, an[n, c, i, j] > 0, 0)*dh[n, c, i, j]
        dgamma1[c]      = sum[n, i, j](dan[n, c, i, j]*xhat[n, c, i, j])
        dbeta1[c]       = sum[n, i, j](dan[n, c, i, j])
        da[n, f, i, j]  = gamma1[f]*rstd[f]*
                          (H*N*W*dan[n, f, i, j] - dgamma1[f]*xhat[n, f, i, j] - dbeta1[f])/(H*N*W)
        dx[n, c, i, j]  = dy[n, c, i, j] + sum[f](w1[f, c]*da[n, f, i, j])
        dw1[f, c]       = sum[n, i, j](da[n, f, i, j]*x[n, c, i, j])
        db1[f]          = 0
        dw2[c, r, s]    = sum[n, p, q](dd[n, c, p, q]*padded(h)[n, c, p + r - 1, q + s - 1])
        db2[c]          = 0
        dw3[f, c]       = sum[n, i, j](df[n, f, i, j]*g[n, c, i, j])
        db3[f]          = 0

    dy: [N, C, H, W].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x = cache.x
    w1 = cache.w1
    gamma1 = cache.gamma1
    w2 = cache.w2
    gamma2 = cache.gamma2
    w3 = cache.w3
    gamma3 = cache.gamma3
    rstd = cache.rstd
    xhat = cache.xhat
    an = cache.an
    h_padded = cache.h_padded
    rstd2 = cache.rstd2
    dn_xhat = cache.dn_xhat
    dn = cache.dn
    g = cache.g
    rstd3 = cache.rstd3
    z_xhat = cache.z_xhat
    dtypes = cache.dtypes
    N, _, H, W = x.shape
    dy = _cotangent("dy", dy, x.shape, np.result_type(*dtypes))
    dgamma3 = (dy * z_xhat).sum(axis=(0, 2, 3))
    dbeta3 = dy.sum(axis=(0, 2, 3))
    df = (
        gamma3[:, None, None]
        * rstd3
        / (N * H * W)
        * (N * H * W * dy - dbeta3[:, None, None] - dgamma3[:, None, None] * z_xhat)
    )
    dg = np.einsum("nfhw,fe->nehw", df, w3, optimize=True)
    ddn = dg * ((dn < 6) & (dn > 0))
    dgamma2 = (dn_xhat * ddn).sum(axis=(0, 2, 3))
    dbeta2 = ddn.sum(axis=(0, 2, 3))
    dd = (
        gamma2[:, None, None]
        * rstd2
        / (N * H * W)
        * (N * H * W * ddn - dbeta2[:, None, None] - dgamma2[:, None, None] * dn_xhat)
    )
    dh_padded = np.zeros(h_padded.shape, dtype=dy.dtype)
    for r in range(3):
        for s in range(3):
            dh_padded[:, :, r : r + H, s : s + W] += w2[:, r, s, None, None] * dd
    dh = _pad(dh_padded, (-1, -1), (-1, -1))
    dan = dh * ((an < 6) & (an > 0))
    dgamma1 = (xhat * dan).sum(axis=(0, 2, 3))
    dbeta1 = dan.sum(axis=(0, 2, 3))
    da = (
        gamma1[:, None, None]
        * rstd
        / (N * H * W)
        * (N * H * W * dan - dbeta1[:, None, None] - dgamma1[:, None, None] * xhat)
    )
    dx = dy + np.einsum("nfij,fc->ncij", da, w1, optimize=True)
    dw1 = np.einsum("nfij,ncij->fc", da, x, optimize=True)
    db1 = np.zeros(gamma1.shape, dtype=dy.dtype)
    dw2 = np.empty(w2.shape, dtype=dy.dtype)
    for r in range(3):
        for s in range(3):
            dw2[:, r, s] = (h_padded[:, :, r : r + H, s : s + W] * dd).sum(axis=(0, 2, 3))
    db2 = np.zeros(gamma1.shape, dtype=dy.dtype)
    dw3 = np.einsum("nfij,ncij->fc", df, g, optimize=True)
    db3 = np.zeros(gamma3.shape, dtype=dy.dtype)
    gradients = (dx, dw1, db1, dgamma1, dbeta1, dw2, db2, dgamma2, dbeta2, dw3, db3, dgamma3, dbeta3)
    return _into(out, Gradients(*map(np.asarray, gradients, dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("N", "C", "H", "W")),
    "w1": ("Real", ("E", "C")),
    "b1": ("Real", ("E",)),
    "gamma1": ("Real", ("E",)),
    "beta1": ("Real", ("E",)),
    "w2": ("Real", ("E", 3, 3)),
    "b2": ("Real", ("E",)),
    "gamma2": ("Real", ("E",)),
    "beta2": ("Real", ("E",)),
    "w3": ("Real", ("C", "E")),
    "b3": ("Real", ("C",)),
    "gamma3": ("Real", ("C",)),
    "beta3": ("Real", ("C",)),
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
