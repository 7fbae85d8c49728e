"""Causal self-attention, attention to the encoder's output z, and a network for each position.

Each has a skip connection and layer normalization after it.

    q[..., h, t, c]       = sum[d](wq[d, h, c]*x[..., t, d]) + bq[h, c]
    k[..., h, t, c]       = sum[d](wk[d, h, c]*x[..., t, d]) + bk[h, c]
    v[..., h, t, c]       = sum[d](wv[d, h, c]*x[..., t, d]) + bv[h, c]
    score[..., h, t, s]   = sum[d](k[..., h, s, d]*q[..., h, t, d])/sqrt(K)
    p[..., h, t, s]       = softmax[s](where(s <= t, score[..., h, t, s], -inf))
    a_a[..., h, t, e]     = sum[s](p[..., h, t, s]*v[..., h, s, e])
    a[..., t, d]          = sum[h, c](wo[h, c, d]*a_a[..., h, t, c]) + bo[d]
    r[..., t, d]          = a[..., t, d] + x[..., t, d]
    mu[..., t]            = mean[d](r[..., t, d])
    rc[..., t, d]         = r[..., t, d] - mu[..., t]
    var[..., t]           = mean[d](rc[..., t, d]**2)
    rstd[..., t]          = 1/sqrt(var[..., t] + 1e-05)
    xhat[..., t, d]       = rstd[..., t]*rc[..., t, d]
    h[..., t, d]          = gamma1[d]*xhat[..., t, d] + beta1[d]
    c_q[..., h, t, c]     = sum[d](h[..., t, d]*uq[d, h, c]) + cq[h, c]
    c_k[..., h, s, c]     = sum[i](uk[i, h, c]*z[..., s, i]) + ck[h, c]
    c_v[..., h, s, c]     = sum[i](uv[i, h, c]*z[..., s, i]) + cv[h, c]
    c_score[..., h, t, s] = sum[d](c_k[..., h, s, d]*c_q[..., h, t, d])/sqrt(K)
    c_p[..., h, t, s]     = softmax[s](c_score[..., h, t, s])
    c_a[..., h, t, e]     = sum[s](c_p[..., h, t, s]*c_v[..., h, s, e])
    c[..., t, d]          = sum[h, c](uo[h, c, d]*c_a[..., h, t, c]) + co[d]
    s[..., t, d]          = c[..., t, d] + h[..., t, d]
    g_mu[..., t]          = mean[d](s[..., t, d])
    sc[..., t, d]         = s[..., t, d] - g_mu[..., t]
    g_var[..., t]         = mean[d](sc[..., t, d]**2)
    rstd2[..., t]         = 1/sqrt(g_var[..., t] + 1e-05)
    g_xhat[..., t, d]     = rstd2[..., t]*sc[..., t, d]
    g[..., t, d]          = gamma2[d]*g_xhat[..., t, d] + beta2[d]
    f_h[..., t, o]        = sum[i](w1[i, o]*g[..., t, i]) + b1[o]
    f_a[..., t, f]        = where(f_h[..., t, f] > 0, f_h[..., t, f], 0)
    f[..., t, o]          = sum[i](w2[i, o]*f_a[..., t, i]) + b2[o]
    u[..., t, d]          = f[..., t, d] + g[..., t, d]
    y_mu[..., t]          = mean[d](u[..., t, d])
    uc[..., t, d]         = u[..., t, d] - y_mu[..., t]
    y_var[..., t]         = mean[d](uc[..., t, d]**2)
    rstd3[..., t]         = 1/sqrt(y_var[..., t] + 1e-05)
    y_xhat[..., t, d]     = rstd3[..., t]*uc[..., t, d]
    y[..., t, d]          = gamma3[d]*y_xhat[..., t, d] + beta3[d]

Source: Vaswani et al., "Attention Is All You Need", 2017.
"""

# Made by derive 0.1.0 from transformer.layer. Do not edit: change the layer file and run
# `derive generate transformer_decoder_block`.

import math
from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [..., T, D]
    z: np.ndarray  # [..., S, D]
    wq: np.ndarray  # [D, H, K]
    wk: np.ndarray  # [D, H, K]
    wv: np.ndarray  # [D, H, K]
    wo: np.ndarray  # [H, K, D]
    gamma1: np.ndarray  # [D]
    uq: np.ndarray  # [D, H, K]
    uk: np.ndarray  # [D, H, K]
    uv: np.ndarray  # [D, H, K]
    uo: np.ndarray  # [H, K, D]
    gamma2: np.ndarray  # [D]
    w1: np.ndarray  # [D, F]
    w2: np.ndarray  # [F, D]
    gamma3: np.ndarray  # [D]
    q: np.ndarray  # [..., H, T, K]
    k: np.ndarray  # [..., H, T, K]
    v: np.ndarray  # [..., H, T, K]
    p: np.ndarray  # [..., H, T, T]
    a_a: np.ndarray  # [..., H, T, K]
    rstd: np.ndarray  # [..., T, 1]
    xhat: np.ndarray  # [..., T, D]
    h: np.ndarray  # [..., T, D]
    c_q: np.ndarray  # [..., H, T, K]
    c_k: np.ndarray  # [..., H, S, K]
    c_v: np.ndarray  # [..., H, S, K]
    c_p: np.ndarray  # [..., H, T, S]
    c_a: np.ndarray  # [..., H, T, K]
    rstd2: np.ndarray  # [..., T, 1]
    g_xhat: np.ndarray  # [..., T, D]
    g: np.ndarray  # [..., T, D]
    f_a: np.ndarray  # [..., T, F]
    rstd3: np.ndarray  # [..., T, 1]
    y_xhat: np.ndarray  # [..., T, D]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [..., T, D]
    dz: np.ndarray  # [..., S, D]
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
    duq: np.ndarray  # [D, H, K]
    duk: np.ndarray  # [D, H, K]
    duv: np.ndarray  # [D, H, K]
    duo: np.ndarray  # [H, K, D]
    dcq: np.ndarray  # [H, K]
    dck: np.ndarray  # [H, K]
    dcv: np.ndarray  # [H, K]
    dco: np.ndarray  # [D]
    dgamma2: np.ndarray  # [D]
    dbeta2: np.ndarray  # [D]
    dw1: np.ndarray  # [D, F]
    db1: np.ndarray  # [F]
    dw2: np.ndarray  # [F, D]
    db2: np.ndarray  # [D]
    dgamma3: np.ndarray  # [D]
    dbeta3: np.ndarray  # [D]


def forward(
    x,
    z,
    wq,
    wk,
    wv,
    wo,
    bq,
    bk,
    bv,
    bo,
    gamma1,
    beta1,
    uq,
    uk,
    uv,
    uo,
    cq,
    ck,
    cv,
    co,
    gamma2,
    beta2,
    w1,
    b1,
    w2,
    b2,
    gamma3,
    beta3,
):
    """Return (y, cache).

    x, y: [..., T, D]; z: [..., S, D]; wq, wk, wv, uq, uk, uv: [D, H, K]; wo, uo: [H, K, D];
    bq, bk, bv, cq, ck, cv: [H, K]; bo, gamma1, beta1, co, gamma2, beta2, b2, gamma3, beta3:
    [D]; w1: [D, F]; b1: [F]; w2: [F, D].
    Raises ValueError for another shape or kind or an empty axis.
    """
    arrays = _expect(
        x,
        z,
        wq,
        wk,
        wv,
        wo,
        bq,
        bk,
        bv,
        bo,
        gamma1,
        beta1,
        uq,
        uk,
        uv,
        uo,
        cq,
        ck,
        cv,
        co,
        gamma2,
        beta2,
        w1,
        b1,
        w2,
        b2,
        gamma3,
        beta3,
    )
    x, z, wq, wk, wv, wo, bq, bk = arrays[0:8]
    bv, bo, gamma1, beta1, uq, uk, uv, uo = arrays[8:16]
    cq, ck, cv, co, gamma2, beta2, w1, b1 = arrays[16:24]
    w2, b2, gamma3, beta3 = arrays[24:28]
    K = wq.shape[2]
    T = x.shape[-2]
    q = np.einsum("...td,dhc->...htc", x, wq, optimize=True) + bq[:, None, :]
    k = np.einsum("...td,dhc->...htc", x, wk, optimize=True) + bk[:, None, :]
    v = np.einsum("...td,dhc->...htc", x, wv, optimize=True) + bv[:, None, :]
    score = q @ np.swapaxes(k, -1, -2) / math.sqrt(K)
    p = np.where(np.arange(T) <= np.arange(T)[:, None], score, -np.inf)
    p = np.exp(p - p.max(axis=-1, keepdims=True))
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
    c_q = np.einsum("...td,dhc->...htc", h, uq, optimize=True) + cq[:, None, :]
    c_k = np.einsum("...si,ihc->...hsc", z, uk, optimize=True) + ck[:, None, :]
    c_v = np.einsum("...si,ihc->...hsc", z, uv, optimize=True) + cv[:, None, :]
    c_score = c_q @ np.swapaxes(c_k, -1, -2) / math.sqrt(K)
    c_p = np.exp(c_score - c_score.max(axis=-1, keepdims=True))
    c_p /= c_p.sum(axis=-1, keepdims=True)
    c_a = c_p @ c_v
    c = np.einsum("...htc,hcd->...td", c_a, uo, optimize=True) + co
    s = h + c
    g_mu = s.mean(axis=-1, keepdims=True)
    sc = s - g_mu
    sc -= sc.mean(axis=-1, keepdims=True)
    g_var = (sc * sc).mean(axis=-1, keepdims=True)
    rstd2 = 1 / np.sqrt(g_var + 1e-05)
    g_xhat = rstd2 * sc
    g = gamma2 * g_xhat + beta2
    f_h = g @ w1 + b1
    f_a = np.maximum(f_h, 0)
    f = f_a @ w2 + b2
    u = g + f
    y_mu = u.mean(axis=-1, keepdims=True)
    uc = u - y_mu
    uc -= uc.mean(axis=-1, keepdims=True)
    y_var = (uc * uc).mean(axis=-1, keepdims=True)
    rstd3 = 1 / np.sqrt(y_var + 1e-05)
    y_xhat = rstd3 * uc
    y = gamma3 * y_xhat + beta3
    dtypes = (
        x.dtype,
        z.dtype,
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
        uq.dtype,
        uk.dtype,
        uv.dtype,
        uo.dtype,
        cq.dtype,
        ck.dtype,
        cv.dtype,
        co.dtype,
        gamma2.dtype,
        beta2.dtype,
        w1.dtype,
        b1.dtype,
        w2.dtype,
        b2.dtype,
        gamma3.dtype,
        beta3.dtype,
    )
    return y, Cache(
        x,
        z,
        wq,
        wk,
        wv,
        wo,
        gamma1,
        uq,
        uk,
        uv,
        uo,
        gamma2,
        w1,
        w2,
        gamma3,
        q,
        k,
        v,
        p,
        a_a,
        rstd,
        xhat,
        h,
        c_q,
        c_k,
        c_v,
        c_p,
        c_a,
        rstd2,
        g_xhat,
        g,
        f_a,
        rstd3,
        y_xhat,
        dtypes,
    )


def backward(dy, cache, out=None):
    """Return Gradients(dx, dz, dwq, dwk, dwv, dwo, dbq, dbk, dbv, dbo, dgamma1, dbeta1, duq, duk, duv, duo, dcq,
    dck, dcv, dco, dgamma2, dbeta2, dw1, db1, dw2, db2, dgamma3, dbeta3).

        dy_xhat[..., t, d]     = gamma3[d]*dy[..., t, d]
        du[..., t, d]          = rstd3[..., t]*
                                 (dy_xhat[..., t, d] - y_xhat[..., t, d]*
                                 mean[k](dy_xhat[..., t, k]*y_xhat[..., t, k]) - mean[k](dy_xhat[..., t, k]))
        df_a[..., t, f]        = sum[o](w2[f, o]*du[..., t, o])
        df_h[..., t, o]        = where(f_a[..., t, o] > 0, 1, 0)*df_a[..., t, o]
        dg[..., t, d]          = du[..., t, d] + sum[o](w1[d, o]*df_h[..., t, o])
        dg_xhat[..., t, d]     = gamma2[d]*dg[..., t, d]
        ds[..., t, d]          = rstd2[..., t]*
                                 (dg_xhat[..., t, d] - g_xhat[..., t, d]*
                                 mean[k](dg_xhat[..., t, k]*g_xhat[..., t, k]) - mean[k](dg_xhat[..., t, k]))
        dc_a[..., h, t, e]     = sum[d](ds[..., t, d]*uo[h, e, d])
        dc_p[..., h, t, s]     = sum[e](c_v[..., h, s, e]*dc_a[..., h, t, e])
        dc_score[..., h, t, s] = c_p[..., h, t, s]*
                                 (dc_p[..., h, t, s] - sum[e](c_a[..., h, t, e]*dc_a[..., h, t, e]))
        dc_q[..., h, t, c]     = sum[s](c_k[..., h, s, c]*dc_score[..., h, t, s])/sqrt(K)
        dh[..., t, d]          = ds[..., t, d] + sum[h, c](uq[d, h, c]*dc_q[..., h, t, c])
        dxhat[..., t, d]       = gamma1[d]*dh[..., t, d]
        dc_v[..., h, s, c]     = sum[t](c_p[..., h, t, s]*dc_a[..., h, t, c])
        dc_k[..., h, s, c]     = sum[t](c_q[..., h, t, c]*dc_score[..., h, t, s])/sqrt(K)
        dr[..., t, d]          = rstd[..., t]*
                                 (dxhat[..., t, d] - xhat[..., t, d]*mean[k](dxhat[..., t, k]*xhat[..., t, k])
                                 - mean[k](dxhat[..., t, k]))
        da_a[..., h, t, e]     = sum[d](dr[..., t, d]*wo[h, e, d])
        dp[..., h, t, s]       = sum[e](da_a[..., h, t, e]*v[..., h, s, e])
        dscore[..., h, t, s]   = p[..., h, t, s]*(dp[..., h, t, s] - sum[e](a_a[..., h, t, e]*da_a[..., h, t, e]))
        dv[..., h, t, c]       = sum[s](da_a[..., h, s, c]*p[..., h, s, t])
        dk[..., h, t, c]       = sum[s](dscore[..., h, s, t]*q[..., h, s, c])/sqrt(K)
        dq[..., h, t, c]       = sum[s](dscore[..., h, t, s]*k[..., h, s, c])/sqrt(K)
        dx[..., t, d]          = dr[..., t, d] + sum[h, c](wk[d, h, c]*dk[..., h, t, c])
                                 + sum[h, c](wq[d, h, c]*dq[..., h, t, c])
                                 + sum[h, c](wv[d, h, c]*dv[..., h, t, c])
        dz[..., s, i]          = sum[h, c](uk[i, h, c]*dc_k[..., h, s, c])
                                 + sum[h, c](uv[i, h, c]*dc_v[..., h, s, c])
        dwq[d, h, c]           = sum[..., t](x[..., t, d]*dq[..., h, t, c])
        dwk[d, h, c]           = sum[..., t](x[..., t, d]*dk[..., h, t, c])
        dwv[d, h, c]           = sum[..., t](x[..., t, d]*dv[..., h, t, c])
        dwo[h, c, d]           = sum[..., t](dr[..., t, d]*a_a[..., h, t, c])
        dbq[h, c]              = sum[..., t](dq[..., h, t, c])
        dbk[h, c]              = 0
        dbv[h, c]              = sum[..., t](da_a[..., h, t, c])
        dbo[d]                 = sum[..., t](dr[..., t, d])
        dgamma1[d]             = sum[..., t](dh[..., t, d]*xhat[..., t, d])
        dbeta1[d]              = sum[..., t](dh[..., t, d])
        duq[d, h, c]           = sum[..., t](h[..., t, d]*dc_q[..., h, t, c])
        duk[i, h, c]           = sum[..., s](z[..., s, i]*dc_k[..., h, s, c])
        duv[i, h, c]           = sum[..., s](z[..., s, i]*dc_v[..., h, s, c])
        duo[h, c, d]           = sum[..., t](ds[..., t, d]*c_a[..., h, t, c])
        dcq[h, c]              = sum[..., t](dc_q[..., h, t, c])
        dck[h, c]              = 0
        dcv[h, c]              = sum[..., t](dc_a[..., h, t, c])
        dco[d]                 = sum[..., t](ds[..., t, d])
        dgamma2[d]             = sum[..., t](dg[..., t, d]*g_xhat[..., t, d])
        dbeta2[d]              = sum[..., t](dg[..., t, d])
        dw1[i, o]              = sum[..., t](df_h[..., t, o]*g[..., t, i])
        db1[o]                 = sum[..., t](df_h[..., t, o])
        dw2[i, o]              = sum[..., t](du[..., t, o]*f_a[..., t, i])
        db2[o]                 = sum[..., t](du[..., t, o])
        dgamma3[d]             = sum[..., t](dy[..., t, d]*y_xhat[..., t, d])
        dbeta3[d]              = sum[..., t](dy[..., t, d])

    dy: [..., T, D].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x = cache.x
    z = cache.z
    wq = cache.wq
    wk = cache.wk
    wv = cache.wv
    wo = cache.wo
    gamma1 = cache.gamma1
    uq = cache.uq
    uk = cache.uk
    uv = cache.uv
    uo = cache.uo
    gamma2 = cache.gamma2
    w1 = cache.w1
    w2 = cache.w2
    gamma3 = cache.gamma3
    q = cache.q
    k = cache.k
    v = cache.v
    p = cache.p
    a_a = cache.a_a
    rstd = cache.rstd
    xhat = cache.xhat
    h = cache.h
    c_q = cache.c_q
    c_k = cache.c_k
    c_v = cache.c_v
    c_p = cache.c_p
    c_a = cache.c_a
    rstd2 = cache.rstd2
    g_xhat = cache.g_xhat
    g = cache.g
    f_a = cache.f_a
    rstd3 = cache.rstd3
    y_xhat = cache.y_xhat
    dtypes = cache.dtypes
    _, H, K = wq.shape
    T = x.shape[-2]
    D = x.shape[-1]
    S = z.shape[-2]
    F = w1.shape[1]
    dy = _cotangent("dy", dy, x.shape, np.result_type(*dtypes))
    dy_xhat = gamma3 * dy
    du = dy_xhat - dy_xhat.mean(axis=-1, keepdims=True) - (y_xhat * dy_xhat).mean(axis=-1, keepdims=True) * y_xhat
    du *= rstd3
    df_a = du @ w2.T
    df_h = df_a * (f_a > 0)
    dg = du + df_h @ w1.T
    dg_xhat = gamma2 * dg
    ds = dg_xhat - dg_xhat.mean(axis=-1, keepdims=True) - (g_xhat * dg_xhat).mean(axis=-1, keepdims=True) * g_xhat
    ds *= rstd2
    dc_a = np.einsum("...td,hed->...hte", ds, uo, optimize=True)
    dc_p = dc_a @ np.swapaxes(c_v, -1, -2)
    dc_score = c_p * (dc_p - (c_a * dc_a).sum(axis=-1, keepdims=True))
    dc_q = dc_score @ c_k / math.sqrt(K)
    dh = ds + np.einsum("...htc,dhc->...td", dc_q, uq, optimize=True)
    dxhat = gamma1 * dh
    dc_v = np.swapaxes(c_p, -1, -2) @ dc_a
    dc_k = np.swapaxes(dc_score, -1, -2) @ c_q / math.sqrt(K)
    dr = rstd * (dxhat - dxhat.mean(axis=-1, keepdims=True) - (xhat * dxhat).mean(axis=-1, keepdims=True) * xhat)
    da_a = np.einsum("...td,hed->...hte", dr, wo, optimize=True)
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
    dz = np.einsum("...hsc,ihc->...si", dc_k, uk, optimize=True)
    dz = dz + np.einsum("...hsc,ihc->...si", dc_v, uv, optimize=True)
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
    duq = np.einsum("btd,bhtc->dhc", h.reshape(-1, T, D), dc_q.reshape(-1, H, T, K), optimize=True)
    duk = np.einsum("bsi,bhsc->ihc", z.reshape(-1, S, D), dc_k.reshape(-1, H, S, K), optimize=True)
    duv = np.einsum("bsi,bhsc->ihc", z.reshape(-1, S, D), dc_v.reshape(-1, H, S, K), optimize=True)
    duo = np.einsum("bhtc,btd->hcd", c_a.reshape(-1, H, T, K), ds.reshape(-1, T, D), optimize=True)
    dcq = dc_q.sum(axis=(*batch_axes, -2))
    dck = np.zeros((H, K), dtype=dy.dtype)
    dcv = dc_a.sum(axis=(*batch_axes, -2))
    dco = ds.sum(axis=(*batch_axes, -2))
    dgamma2 = (g_xhat * dg).sum(axis=(*batch_axes, -2))
    dbeta2 = dg.sum(axis=(*batch_axes, -2))
    dw1 = g.reshape(-1, D).T @ df_h.reshape(-1, F)
    db1 = df_h.sum(axis=(*batch_axes, -2))
    dw2 = f_a.reshape(-1, F).T @ du.reshape(-1, D)
    db2 = du.sum(axis=(*batch_axes, -2))
    dgamma3 = (dy * y_xhat).sum(axis=(*batch_axes, -2))
    dbeta3 = dy.sum(axis=(*batch_axes, -2))
    gradients = (
        dx,
        dz,
        dwq,
        dwk,
        dwv,
        dwo,
        dbq,
        dbk,
        dbv,
        dbo,
        dgamma1,
        dbeta1,
        duq,
        duk,
        duv,
        duo,
        dcq,
        dck,
        dcv,
        dco,
        dgamma2,
        dbeta2,
        dw1,
        db1,
        dw2,
        db2,
        dgamma3,
        dbeta3,
    )
    return _into(out, Gradients(*map(np.asarray, gradients, dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("...", "T", "D")),
    "z": ("Real", ("...", "S", "D")),
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
    "uq": ("Real", ("D", "H", "K")),
    "uk": ("Real", ("D", "H", "K")),
    "uv": ("Real", ("D", "H", "K")),
    "uo": ("Real", ("H", "K", "D")),
    "cq": ("Real", ("H", "K")),
    "ck": ("Real", ("H", "K")),
    "cv": ("Real", ("H", "K")),
    "co": ("Real", ("D",)),
    "gamma2": ("Real", ("D",)),
    "beta2": ("Real", ("D",)),
    "w1": ("Real", ("D", "F")),
    "b1": ("Real", ("F",)),
    "w2": ("Real", ("F", "D")),
    "b2": ("Real", ("D",)),
    "gamma3": ("Real", ("D",)),
    "beta3": ("Real", ("D",)),
}
_KINDS = {"Real": "f"}
# What is undefined where an axis has no elements.
_NONEMPTY = {
    "K": "a division by K",
    "T": "softmax[s]",
    "D": "mean[d]",
    "S": "softmax[s]",
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
