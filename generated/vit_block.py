"""Self-attention of an image's patches and a GELU network, each normalized before and with a skip connection.

    mu[..., t]          = mean[d](x[..., t, d])
    xc[..., t, d]       = x[..., t, d] - mu[..., t]
    var[..., t]         = mean[d](xc[..., t, d]**2)
    rstd[..., t]        = 1/sqrt(var[..., t] + 1e-05)
    xhat[..., t, d]     = rstd[..., t]*xc[..., t, d]
    n1[..., t, d]       = gamma1[d]*xhat[..., t, d] + beta1[d]
    q[..., h, t, c]     = sum[d](n1[..., t, d]*wq[d, h, c]) + bq[h, c]
    k[..., h, t, c]     = sum[d](n1[..., t, d]*wk[d, h, c]) + bk[h, c]
    v[..., h, t, c]     = sum[d](n1[..., t, d]*wv[d, h, c]) + bv[h, c]
    score[..., h, t, s] = sum[c](k[..., h, s, c]*q[..., h, t, c])/sqrt(K)
    p[..., h, t, s]     = softmax[s](score[..., h, t, s])
    a_a[..., h, t, c]   = sum[s](p[..., h, t, s]*v[..., h, s, c])
    a[..., t, d]        = sum[h, c](wo[h, c, d]*a_a[..., h, t, c]) + bo[d]
    h[..., t, d]        = a[..., t, d] + x[..., t, d]
    n2_mu[..., t]       = mean[d](h[..., t, d])
    hc[..., t, d]       = h[..., t, d] - n2_mu[..., t]
    n2_var[..., t]      = mean[d](hc[..., t, d]**2)
    rstd2[..., t]       = 1/sqrt(n2_var[..., t] + 1e-05)
    n2_xhat[..., t, d]  = rstd2[..., t]*hc[..., t, d]
    n2[..., t, d]       = gamma2[d]*n2_xhat[..., t, d] + beta2[d]
    f_h[..., t, o]      = sum[i](w1[i, o]*n2[..., t, i]) + b1[o]
    f_a[..., t, h]      = 0.5*erfc(-0.5*sqrt(2)*f_h[..., t, h])*f_h[..., t, h]
    f[..., t, o]        = sum[i](w2[i, o]*f_a[..., t, i]) + b2[o]
    y[..., t, d]        = f[..., t, d] + h[..., t, d]

Source: Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
2021.
"""

# Made by derive 0.1.0 from transformer.layer. Do not edit: change the layer file and run
# `derive generate vit_block`.

import math
from typing import NamedTuple

import numpy as np
from scipy.special import erfc  # NumPy has none


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    gamma1: np.ndarray  # [D]
    wq: np.ndarray  # [D, H, K]
    wk: np.ndarray  # [D, H, K]
    wv: np.ndarray  # [D, H, K]
    wo: np.ndarray  # [H, K, D]
    gamma2: np.ndarray  # [D]
    w1: np.ndarray  # [D, F]
    w2: np.ndarray  # [F, D]
    rstd: np.ndarray  # [..., T, 1]
    xhat: np.ndarray  # [..., T, D]
    n1: np.ndarray  # [..., T, D]
    q: np.ndarray  # [..., H, T, K]
    k: np.ndarray  # [..., H, T, K]
    v: np.ndarray  # [..., H, T, K]
    p: np.ndarray  # [..., H, T, T]
    a_a: np.ndarray  # [..., H, T, K]
    rstd2: np.ndarray  # [..., T, 1]
    n2_xhat: np.ndarray  # [..., T, D]
    n2: np.ndarray  # [..., T, D]
    f_h: np.ndarray  # [..., T, F]
    f_a: np.ndarray  # [..., T, F]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [..., T, D]
    dgamma1: np.ndarray  # [D]
    dbeta1: np.ndarray  # [D]
    dwq: np.ndarray  # [D, H, K]
    dwk: np.ndarray  # [D, H, K]
    dwv: np.ndarray  # [D, H, K]
    dwo: np.ndarray  # [H, K, D]
    dbq: np.ndarray  # [H, K]
    dbk: np.ndarray  # [H, K]
    dbv: np.ndarray  # [H, K]
    dbo: np.ndarray  # [D]
    dgamma2: np.ndarray  # [D]
    dbeta2: np.ndarray  # [D]
    dw1: np.ndarray  # [D, F]
    db1: np.ndarray  # [F]
    dw2: np.ndarray  # [F, D]
    db2: np.ndarray  # [D]


def forward(x, gamma1, beta1, wq, wk, wv, wo, bq, bk, bv, bo, gamma2, beta2, w1, b1, w2, b2):
    """Return (y, cache).

    x, y: [..., T, D]; gamma1, beta1, bo, gamma2, beta2, b2: [D]; wq, wk, wv: [D, H, K]; wo:
    [H, K, D]; bq, bk, bv: [H, K]; w1: [D, F]; b1: [F]; w2: [F, D].
    Raises ValueError for another shape or kind or an empty axis.
    """
    x, gamma1, beta1, wq, wk, wv, wo, bq, bk, bv, bo, gamma2, beta2, w1, b1, w2, b2 = _expect(
        x, gamma1, beta1, wq, wk, wv, wo, bq, bk, bv, bo, gamma2, beta2, w1, b1, w2, b2
    )
    K = wq.shape[2]
    mu = x.mean(axis=-1, keepdims=True)
    xc = x - mu
    xc -= xc.mean(axis=-1, keepdims=True)
    var = (xc * xc).mean(axis=-1, keepdims=True)
    rstd = 1 / np.sqrt(var + 1e-05)
    xhat = rstd * xc
    n1 = gamma1 * xhat + beta1
    q = np.einsum("...td,dhc->...htc", n1, wq, optimize=True) + bq[:, None, :]
    k = np.einsum("...td,dhc->...htc", n1, wk, optimize=True) + bk[:, None, :]
    v = np.einsum("...td,dhc->...htc", n1, wv, optimize=True) + bv[:, None, :]
    score = q @ np.swapaxes(k, -1, -2) / math.sqrt(K)
    p = np.exp(score - score.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    a_a = p @ v
    a = np.einsum("...htc,hcd->...td", a_a, wo, optimize=True) + bo
    h = x + a
    n2_mu = h.mean(axis=-1, keepdims=True)
    hc = h - n2_mu
    hc -= hc.mean(axis=-1, keepdims=True)
    n2_var = (hc * hc).mean(axis=-1, keepdims=True)
    rstd2 = 1 / np.sqrt(n2_var + 1e-05)
    n2_xhat = rstd2 * hc
    n2 = gamma2 * n2_xhat + beta2
    f_h = n2 @ w1 + b1
    f_a = 0.5 * f_h * erfc(-f_h / math.sqrt(2))
    f = f_a @ w2 + b2
    y = h + f
    dtypes = (
        x.dtype,
        gamma1.dtype,
        beta1.dtype,
        wq.dtype,
        wk.dtype,
        wv.dtype,
        wo.dtype,
        bq.dtype,
        bk.dtype,
        bv.dtype,
        bo.dtype,
        gamma2.dtype,
        beta2.dtype,
        w1.dtype,
        b1.dtype,
        w2.dtype,
        b2.dtype,
    )
    return y, Cache(
        gamma1, wq, wk, wv, wo, gamma2, w1, w2, rstd, xhat, n1, q, k, v, p, a_a, rstd2, n2_xhat, n2, f_h, f_a, dtypes
    )


def backward(dy, cache, out=None):
    """Return Gradients(dx, dgamma1, dbeta1, dwq, dwk, dwv, dwo, dbq, dbk, dbv, dbo, dgamma2, dbeta2, dw1, db1, dw2,
    db2).

        df_a[..., t, h]      = sum[o](w2[h, o]*dy[..., t, o])
        df_h[..., t, o]      = df_a[..., t, o]*
                               (0.5*sqrt(2)*exp(-0.5*f_h[..., t, o]**2)*f_h[..., t, o]/sqrt(pi) + 0.5*
                               erfc(-0.5*sqrt(2)*f_h[..., t, o]))
        dn2[..., t, d]       = sum[o](w1[d, o]*df_h[..., t, o])
        dn2_xhat[..., t, d]  = gamma2[d]*dn2[..., t, d]
        dh[..., t, d]        = rstd2[..., t]*
                               (dn2_xhat[..., t, d] - n2_xhat[..., t, d]*
                               mean[k](dn2_xhat[..., t, k]*n2_xhat[..., t, k]) - mean[k](dn2_xhat[..., t, k]))
                               + dy[..., t, d]
        da_a[..., h, t, c]   = sum[d](dh[..., t, d]*wo[h, c, d])
        dv[..., h, t, c]     = sum[s](da_a[..., h, s, c]*p[..., h, s, t])
        dp[..., h, t, s]     = sum[c](da_a[..., h, t, c]*v[..., h, s, c])
        dscore[..., h, t, s] = p[..., h, t, s]*(dp[..., h, t, s] - sum[c](a_a[..., h, t, c]*da_a[..., h, t, c]))
        dk[..., h, t, c]     = sum[s](dscore[..., h, s, t]*q[..., h, s, c])/sqrt(K)
        dq[..., h, t, c]     = sum[s](dscore[..., h, t, s]*k[..., h, s, c])/sqrt(K)
        dn1[..., t, d]       = sum[h, c](wk[d, h, c]*dk[..., h, t, c]) + sum[h, c](wq[d, h, c]*dq[..., h, t, c])
                               + sum[h, c](wv[d, h, c]*dv[..., h, t, c])
        dxhat[..., t, d]     = gamma1[d]*dn1[..., t, d]
        dx[..., t, d]        = rstd[..., t]*
                               (dxhat[..., t, d] - xhat[..., t, d]*mean[k](dxhat[..., t, k]*xhat[..., t, k])
                               - mean[k](dxhat[..., t, k])) + dh[..., t, d]
        dgamma1[d]           = sum[..., t](dn1[..., t, d]*xhat[..., t, d])
        dbeta1[d]            = sum[..., t](dn1[..., t, d])
        dwq[d, h, c]         = sum[..., t](n1[..., t, d]*dq[..., h, t, c])
        dwk[d, h, c]         = sum[..., t](n1[..., t, d]*dk[..., h, t, c])
        dwv[d, h, c]         = sum[..., t](n1[..., t, d]*dv[..., h, t, c])
        dwo[h, c, d]         = sum[..., t](dh[..., t, d]*a_a[..., h, t, c])
        dbq[h, c]            = sum[..., t](dq[..., h, t, c])
        dbk[h, c]            = 0
        dbv[h, c]            = sum[..., t](da_a[..., h, t, c])
        dbo[d]               = sum[..., t](dh[..., t, d])
        dgamma2[d]           = sum[..., t](dn2[..., t, d]*n2_xhat[..., t, d])
        dbeta2[d]            = sum[..., t](dn2[..., t, d])
        dw1[i, o]            = sum[..., t](df_h[..., t, o]*n2[..., t, i])
        db1[o]               = sum[..., t](df_h[..., t, o])
        dw2[i, o]            = sum[..., t](dy[..., t, o]*f_a[..., t, i])
        db2[o]               = sum[..., t](dy[..., t, o])

    dy: [..., T, D].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    gamma1 = cache.gamma1
    wq = cache.wq
    wk = cache.wk
    wv = cache.wv
    wo = cache.wo
    gamma2 = cache.gamma2
    w1 = cache.w1
    w2 = cache.w2
    rstd = cache.rstd
    xhat = cache.xhat
    n1 = cache.n1
    q = cache.q
    k = cache.k
    v = cache.v
    p = cache.p
    a_a = cache.a_a
    rstd2 = cache.rstd2
    n2_xhat = cache.n2_xhat
    n2 = cache.n2
    f_h = cache.f_h
    f_a = cache.f_a
    dtypes = cache.dtypes
    _, H, K = wq.shape
    T = rstd.shape[-2]
    D = gamma1.shape[0]
    F = w1.shape[1]
    dy = _cotangent("dy", dy, xhat.shape, np.result_type(*dtypes))
    df_a = dy @ w2.T
    df_h = df_a * (0.5 * erfc(-f_h / math.sqrt(2)) + f_h * np.exp(-0.5 * f_h * f_h) / math.sqrt(2 * np.pi))
    dn2 = df_h @ w1.T
    dn2_xhat = gamma2 * dn2
    dh = dn2_xhat - dn2_xhat.mean(axis=-1, keepdims=True) - (n2_xhat * dn2_xhat).mean(axis=-1, keepdims=True) * n2_xhat
    dh = dy + rstd2 * dh
    da_a = np.einsum("...td,hcd->...htc", dh, wo, optimize=True)
    dv = np.swapaxes(p, -1, -2) @ da_a
    dp = da_a @ np.swapaxes(v, -1, -2)
    dscore = p * (dp - (a_a * da_a).sum(axis=-1, keepdims=True))
    dk = np.swapaxes(dscore, -1, -2) @ q / math.sqrt(K)
    dq = dscore @ k / math.sqrt(K)
    dn1 = (
        np.einsum("...htc,dhc->...td", dq, wq, optimize=True)
        + np.einsum("...htc,dhc->...td", dk, wk, optimize=True)
        + np.einsum("...htc,dhc->...td", dv, wv, optimize=True)
    )
    dxhat = gamma1 * dn1
    dx = dh + rstd * (dxhat - dxhat.mean(axis=-1, keepdims=True) - (xhat * dxhat).mean(axis=-1, keepdims=True) * xhat)
    batch_axes = tuple(range(xhat.ndim - 2))
    dgamma1 = (xhat * dn1).sum(axis=(*batch_axes, -2))
    dbeta1 = dn1.sum(axis=(*batch_axes, -2))
    dwq = np.einsum("btd,bhtc->dhc", n1.reshape(-1, T, D), dq.reshape(-1, H, T, K), optimize=True)
    dwk = np.einsum("btd,bhtc->dhc", n1.reshape(-1, T, D), dk.reshape(-1, H, T, K), optimize=True)
    dwv = np.einsum("btd,bhtc->dhc", n1.reshape(-1, T, D), dv.reshape(-1, H, T, K), optimize=True)
    dwo = np.einsum("bhtc,btd->hcd", a_a.reshape(-1, H, T, K), dh.reshape(-1, T, D), optimize=True)
    dbq = dq.sum(axis=(*batch_axes, -2))
    dbk = np.zeros((H, K), dtype=dy.dtype)
    dbv = da_a.sum(axis=(*batch_axes, -2))
    dbo = dh.sum(axis=(*batch_axes, -2))
    dgamma2 = (n2_xhat * dn2).sum(axis=(*batch_axes, -2))
    dbeta2 = dn2.sum(axis=(*batch_axes, -2))
    dw1 = n2.reshape(-1, D).T @ df_h.reshape(-1, F)
    db1 = df_h.sum(axis=(*batch_axes, -2))
    dw2 = f_a.reshape(-1, F).T @ dy.reshape(-1, D)
    db2 = dy.sum(axis=(*batch_axes, -2))
    gradients = (dx, dgamma1, dbeta1, dwq, dwk, dwv, dwo, dbq, dbk, dbv, dbo, dgamma2, dbeta2, dw1, db1, dw2, db2)
    return _into(out, Gradients(*map(np.asarray, gradients, dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("...", "T", "D")),
    "gamma1": ("Real", ("D",)),
    "beta1": ("Real", ("D",)),
    "wq": ("Real", ("D", "H", "K")),
    "wk": ("Real", ("D", "H", "K")),
    "wv": ("Real", ("D", "H", "K")),
    "wo": ("Real", ("H", "K", "D")),
    "bq": ("Real", ("H", "K")),
    "bk": ("Real", ("H", "K")),
    "bv": ("Real", ("H", "K")),
    "bo": ("Real", ("D",)),
    "gamma2": ("Real", ("D",)),
    "beta2": ("Real", ("D",)),
    "w1": ("Real", ("D", "F")),
    "b1": ("Real", ("F",)),
    "w2": ("Real", ("F", "D")),
    "b2": ("Real", ("D",)),
}
_KINDS = {"Real": "f"}
# What is undefined where an axis has no elements.
_NONEMPTY = {
    "D": "mean[d]",
    "K": "a division by K",
    "T": "softmax[s]",
}


def _expect(*inputs):
    """Return the inputs as arrays; ValueError for another kind or shape, or an empty axis."""
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
