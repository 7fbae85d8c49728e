"""One step of long short-term memory by hand; the gates lie side by side: input, forget, cell, output."""

import numpy as np


def forward(x, h, c, wx, wh, bx, bh):
    """Return (h_next, c_next, cache)."""
    a = x @ wx + h @ wh + bx + bh
    ai, af, ag, ao = np.split(a, 4, axis=-1)
    i, f, o = (1 / (1 + np.exp(-z)) for z in (ai, af, ao))
    g = np.tanh(ag)
    c_next = f * c + i * g
    tc = np.tanh(c_next)
    return o * tc, c_next, (x, h, c, wx, wh, i, f, g, o, tc, c_next)


def backward(dh_next, dc_next, cache):
    """Return the gradients of x, h, c, wx, wh, bx and bh."""
    x, h, c, wx, wh, i, f, g, o, tc, c_next = cache
    do = dh_next * tc
    dct = dc_next + dh_next * o * (1 - tc**2)
    df = dct * c
    di = dct * g
    dg = dct * i
    dai = di * i * (1 - i)
    daf = df * f * (1 - f)
    dag = dg * (1 - g**2)
    dao = do * o * (1 - o)
    da = np.concatenate([dai, daf, dag, dao], axis=-1)
    dx = da @ wx.T
    dh = da @ wh.T
    dc = dct * f
    rows = da.reshape(-1, da.shape[-1])
    dwx = x.reshape(-1, x.shape[-1]).T @ rows
    dwh = h.reshape(-1, h.shape[-1]).T @ rows
    dbx = rows.sum(axis=0)
    dbh = rows.sum(axis=0)
    return dx, dh, dc, dwx, dwh, dbx, dbh
