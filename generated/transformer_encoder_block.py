"""Self-attention and a network for each position, each with a skip connection and layer normalization after it.

    q[..., h, t, c]     = sum[d](wq[d, h, c]*x[..., t, d]) + bq[h, c]
    k[..., h, t, c]     = sum[d](wk[d, h, c]*x[..., t, d]) + bk[h, c]
    v[..., h, t, c]     = sum[d](wv[d, h, c]*x[..., t, d]) + bv[h, c]
    score[..., h, t, s] = sum[c](k[..., h, s, c]*q[..., h, t, c])/sqrt(K)
    p[..., h, t, s]     = softmax[s](score[..., h, t, s])
    a_a[..., h, t, c]   = sum[s](p[..., h, t, s]*v[..., h, s, c])
    a[..., t, d]        = sum[h, c](wo[h, c, d]*a_a[..., h, t, c]) + bo[d]
    r[..., t, d]        = a[..., t, d] + x[..., t, d]
    mu[..., t]          = mean[d](r[..., t, d])
    rc[..., t, d]       = r[..., t, d] - mu[..., t]
    var[..., t]         = mean[d](rc[..., t, d]**2)
    rstd[..., t]        = 1/sqrt(var[..., t] + 1e-05)
    xhat[..., t, d]     = rstd[..., t]*rc[..., t, d]
    h[..., t, d]        = gamma1[d]*xhat[..., t, d] + beta1[d]
    f_h[..., t, o]      = sum[i](w1[i, o]*h[..., t, i]) + b1[o]
    f_a[..., t, f]      = where(f_h[..., t, f] > 0, f_h[..., t, f], 0)
    f[..., t, o]        = sum[i](w2[i, o]*f_a[..., t, i]) + b2[o]
    s[..., t, d]        = f[..., t, d] + h[..., t, d]
    y_mu[..., t]        = mean[d](s[..., t, d])
    sc[..., t, d]       = s[..., t, d] - y_mu[..., t]
    y_var[..., t]       = mean[d](sc[..., t, d]**2)
    rstd2[..., t]       = 1/sqrt(y_var[..., t] + 1e-05)
    y_xhat[..., t, d]   = rstd2[..., t]*sc[..., t, d]
    y[..., t, d]        = gamma2[d]*y_xhat[..., t, d] + beta2[d]

Source: Vaswani et al., "Attention Is All You Need", 2017.
"""

# Made by derive 0.1.0 from transformer.layer. Do not edit: change the layer file and run
# `derive generate transformer_encoder_block`.

import math
from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [..., T, D]
    wq: np.ndarray  # [D, H, K]
    wk: np.ndarray  # [D, H, K]
    wv: np.ndarray  # [D, H, K]
    wo: np.ndarray  # [H, K, D]
    gamma1: np.ndarray  # [D]
    w1: np.ndarray  # [D, F]
    w2: np.ndarray  # [F, D]
    gamma2: np.ndarray  # [D]
    q: np.ndarray  # [..., H, T, K]
    k: np.ndarray  # [..., H, T, K]
    v: np.ndarray  # [..., H, T, K]
    p: np.ndarray  # [..., H, T, T]
    a_a: np.ndarray  # [..., H, T, K]
    rstd: np.ndarray  # [..., T, 1]
    xhat: np.ndarray  # [..., T, D]
    h: np.ndarray  # [..., T, D]
    f_a: np.ndarray  # [..., T, F]
    rstd2: np.ndarray  # [..., T, 1]
    y_xhat: np.ndarray  # [..., T, D]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [..., T, D]
    dwq: np.ndarray  # [D, H, K]
    dwk: np.ndarray  # [D, H, K]
    dwv: np.ndarray  # [D, H, K]
    dwo: np.ndarray  # [H, K, D]
    dbq: np.ndarray  # [H, K]
    dbk: np.ndarray  # [H, K]
    dbv: np.ndarray  # [H, K]
    dbo: np.ndarray  # [D]
    dgamma1: np.ndarray  # [D]
    dbeta1: np.ndarray  # [D]
    dw1: np.ndarray  # [D, F]
    db1: np.ndarray  # [F]
    dw2: np.ndarray  # [F, D]
    db2: np.ndarray  # [D]
    dgamma2: np.ndarray  # [D]
    dbeta2: np.ndarray  # [D]


def forward(x, wq, wk, wv, wo, bq, bk, bv, bo, gamma1, beta1, w1, b1, w2, b2, gamma2, beta2):
    """Return (y, cache).

    x, y: [..., T, D]; wq, wk, wv: [D, H, K]; wo: [H, K, D]; bq, bk, bv: [H, K]; bo, gamma1,
    beta1, b2, gamma2, beta2: [D]; w1: [D, F]; b1: [F]; w2: [F, D].
    Raises ValueError for another shape or kind or an empty axis.
    """
    x, wq, wk, wv, wo, bq, bk, bv, bo, gamma1, beta1, w1, b1, w2, b2, gamma2, beta2 = _expect(
        x, wq, wk, wv, wo, bq, bk, bv, bo, gamma1, beta1, w1, b1, w2, b2, gamma2, beta2
    )
    K = wq.shape[2]
    q = np.einsum("...td,dhc->...htc", x, wq, optimize=True) + bq[:, None, :]
    k = np.einsum("...td,dhc->...htc", x, wk, optimize=True) + bk[:, None, :]
    v = np.einsum("...td,dhc->...htc", x, wv, optimize=True) + bv[:, None, :]
    score = q @ np.swapaxes(k, -1, -2) / math.sqrt(K)
    p = np.exp(score - score.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    a_a = p @ v
    a = np.einsum("...htc,hcd->...td", a_a, wo, optimize=True) + bo
    r = x + a
    mu = r.mean(axis=-1, keepdims=True)
    rc = r - mu
    rc -= rc.mean(axis=-1, keepdims=True)
    var = (rc * rc).mean(axis=-1, keepdims=True)
    rstd = 1 / np.sqrt(var + 1e-05)
    xhat = rstd * rc
    h = gamma1 * xhat + beta1
    f_h = h @ w1 + b1
    f_a = np.maximum(f_h, 0)
    f = f_a @ w2 + b2
    s = h + f
    y_mu = s.mean(axis=-1, keepdims=True)
    sc = s - y_mu
    sc -= sc.mean(axis=-1, keepdims=True)
    y_var = (sc * sc).mean(axis=-1, keepdims=True)
    rstd2 = 1 / np.sqrt(y_var + 1e-05)
    y_xhat = rstd2 * sc
    y = gamma2 * y_xhat + beta2
    dtypes = (
        x.dtype,
        wq.dtype,
        wk.dtype,
        wv.dtype,
        wo.dtype,
        bq.dtype,
        bk.dtype,
        bv.dtype,
        bo.dtype,
        gamma1.dtype,
        beta1.dtype,
        w1.dtype,
        b1.dtype,
        w2.dtype,
        b2.dtype,
        gamma2.dtype,
        beta2.dtype,
    )
    return y, Cache(
        x, wq, wk, wv, wo, gamma1, w1, w2, gamma2, q, k, v, p, a_a, rstd, xhat, h, f_a, rstd2, y_xhat, dtypes
    )


def backward(dy, cache, out=None):
    """Return Gradients(dx, dwq, dwk, dwv, dwo, dbq, dbk, dbv, dbo, dgamma1, dbeta1, dw1, db1, dw2, db2, dgamma2,
    dbeta2).

        dy_xhat[..., t, d]   = gamma2[d]*dy[..., t, d]
        ds[..., t, d]        = rstd2[..., t]*
                               (dy_xhat[..., t, d] - y_xhat[..., t, d]*
                               mean[k](dy_xhat[..., t, k]*y_xhat[..., t, k]) - mean[k](dy_xhat[..., t, k]))
        df_a[..., t, f]      = sum[o](w2[f, o]*ds[..., t, o])
        df_h[..., t, o]      = where(f_a[..., t, o] > 0, 1, 0)*df_a[..., t, o]
        dh[..., t, d]        = ds[..., t, d] + sum[o](w1[d, o]*df_h[..., t, o])
        dxhat[..., t, d]     = gamma1[d]*dh[..., t, d]
        dr[..., t, d]        = rstd[..., t]*
                               (dxhat[..., t, d] - xhat[..., t, d]*mean[k](dxhat[..., t, k]*xhat[..., t, k])
                               - mean[k](dxhat[..., t, k]))
        da_a[..., h, t, c]   = sum[d](dr[..., t, d]*wo[h, c, d])
        dp[..., h, t, s]     = sum[c](da_a[..., h, t, c]*v[..., h, s, c])
        dscore[..., h, t, s] = p[..., h, t, s]*(dp[..., h, t, s] - sum[c](a_a[..., h, t, c]*da_a[..., h, t, c]))
        dv[..., h, t, c]     = sum[s](da_a[..., h, s, c]*p[..., h, s, t])
        dk[..., h, t, c]     = sum[s](dscore[..., h, s, t]*q[..., h, s, c])/sqrt(K)
        dq[..., h, t, c]     = sum[s](dscore[..., h, t, s]*k[..., h, s, c])/sqrt(K)
        dx[..., t, d]        = dr[..., t, d] + sum[h, c](wk[d, h, c]*dk[..., h, t, c])
                               + sum[h, c](wq[d, h, c]*dq[..., h, t, c]) + sum[h, c](wv[d, h, c]*dv[..., h, t, c])
        dwq[d, h, c]         = sum[..., t](x[..., t, d]*dq[..., h, t, c])
        dwk[d, h, c]         = sum[..., t](x[..., t, d]*dk[..., h, t, c])
        dwv[d, h, c]         = sum[..., t](x[..., t, d]*dv[..., h, t, c])
        dwo[h, c, d]         = sum[..., t](dr[..., t, d]*a_a[..., h, t, c])
        dbq[h, c]            = sum[..., t](dq[..., h, t, c])
        dbk[h, c]            = 0
        dbv[h, c]            = sum[..., t](da_a[..., h, t, c])
        dbo[d]               = sum[..., t](dr[..., t, d])
        dgamma1[d]           = sum[..., t](dh[..., t, d]*xhat[..., t, d])
        dbeta1[d]            = sum[..., t](dh[..., t, d])
        dw1[i, o]            = sum[..., t](df_h[..., t, o]*h[..., t, i])
        db1[o]               = sum[..., t](df_h[..., t, o])
        dw2[i, o]            = sum[..., t](ds[..., t, o]*f_a[..., t, i])
        db2[o]               = sum[..., t](ds[..., t, o])
        dgamma2[d]           = sum[..., t](dy[..., t, d]*y_xhat[..., t, d])
        dbeta2[d]            = sum[..., t](dy[..., t, d])

    dy: [..., T, D].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x, wq, wk, wv, wo, gamma1, w1, w2, gamma2, q, k, v, p, a_a, rstd, xhat, h, f_a, rstd2, y_xhat, dtypes = cache
    _, H, K = wq.shape
    T = x.shape[-2]
    D = x.shape[-1]
    F = w1.shape[1]
    dy = _cotangent("dy", dy, x.shape, np.result_type(*dtypes))
    dy_xhat = gamma2 * dy
    ds = dy_xhat - dy_xhat.mean(axis=-1, keepdims=True) - (y_xhat * dy_xhat).mean(axis=-1, keepdims=True) * y_xhat
    ds *= rstd2
    df_a = ds @ w2.T
    df_h = df_a * (f_a > 0)
    dh = ds + df_h @ w1.T
    dxhat = gamma1 * dh
    dr = rstd * (dxhat - dxhat.mean(axis=-1, keepdims=True) - (xhat * dxhat).mean(axis=-1, keepdims=True) * xhat)
    da_a = np.einsum("...td,hcd->...htc", dr, wo, optimize=True)
    dp = da_a @ np.swapaxes(v, -1, -2)
    dscore = p * (dp - (a_a * da_a).sum(axis=-1, keepdims=True))
    dv = np.swapaxes(p, -1, -2) @ da_a
    dk = np.swapaxes(dscore, -1, -2) @ q / math.sqrt(K)
    dq = dscore @ k / math.sqrt(K)
    dx = (
        dr
        + np.einsum("...htc,dhc->...td", dq, wq, optimize=True)
        + np.einsum("...htc,dhc->...td", dk, wk, optimize=True)
        + np.einsum("...htc,dhc->...td", dv, wv, optimize=True)
    )
    dwq = np.einsum("btd,bhtc->dhc", x.reshape(-1, T, D), dq.reshape(-1, H, T, K), optimize=True)
    dwk = np.einsum("btd,bhtc->dhc", x.reshape(-1, T, D), dk.reshape(-1, H, T, K), optimize=True)
    dwv = np.einsum("btd,bhtc->dhc", x.reshape(-1, T, D), dv.reshape(-1, H, T, K), optimize=True)
    dwo = np.einsum("bhtc,btd->hcd", a_a.reshape(-1, H, T, K), dr.reshape(-1, T, D), optimize=True)
    batch_axes = tuple(range(dq.ndim - 3))
    dbq = dq.sum(axis=(*batch_axes, -2))
    dbk = np.zeros((H, K), dtype=dy.dtype)
    dbv = da_a.sum(axis=(*batch_axes, -2))
    dbo = dr.sum(axis=(*batch_axes, -2))
    dgamma1 = (xhat * dh).sum(axis=(*batch_axes, -2))
    dbeta1 = dh.sum(axis=(*batch_axes, -2))
    dw1 = h.reshape(-1, D).T @ df_h.reshape(-1, F)
    db1 = df_h.sum(axis=(*batch_axes, -2))
    dw2 = f_a.reshape(-1, F).T @ ds.reshape(-1, D)
    db2 = ds.sum(axis=(*batch_axes, -2))
    dgamma2 = (dy * y_xhat).sum(axis=(*batch_axes, -2))
    dbeta2 = dy.sum(axis=(*batch_axes, -2))
    gradients = (dx, dwq, dwk, dwv, dwo, dbq, dbk, dbv, dbo, dgamma1, dbeta1, dw1, db1, dw2, db2, dgamma2, dbeta2)
    return _into(out, Gradients(*map(np.asarray, gradients, dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("...", "T", "D")),
    "wq": ("Real", ("D", "H", "K")),
    "wk": ("Real", ("D", "H", "K")),
    "wv": ("Real", ("D", "H", "K")),
    "wo": ("Real", ("H", "K", "D")),
    "bq": ("Real", ("H", "K")),
    "bk": ("Real", ("H", "K")),
    "bv": ("Real", ("H", "K")),
    "bo": ("Real", ("D",)),
    "gamma1": ("Real", ("D",)),
    "beta1": ("Real", ("D",)),
    "w1": ("Real", ("D", "F")),
    "b1": ("Real", ("F",)),
    "w2": ("Real", ("F", "D")),
    "b2": ("Real", ("D",)),
    "gamma2": ("Real", ("D",)),
    "beta2": ("Real", ("D",)),
}
_KINDS = {"Real": "f"}
# What is undefined where an axis has no elements.
_NONEMPTY = {
    "K": "a division by K",
    "T": "softmax[s]",
    "D": "mean[d]",
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
