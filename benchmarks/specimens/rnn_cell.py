"""One step of a simple recurrent network by hand, on rows."""

import numpy as np


def forward(x, h, wx, wh, bx, bh):
    """Return (h_next, cache)."""
    h_next = np.tanh(x @ wx + h @ wh + bx + bh)
    return h_next, (x, h, wx, wh, h_next)


def backward(dh_next, cache):
    """Return the gradients of x, h, wx, wh, bx and bh."""
    x, h, wx, wh, h_next = cache
    da = dh_next * (1 - h_next**2)
    dx = da @ wx.T
    dh = da @ wh.T
    dwx = x.T @ da
    dwh = h.T @ da
    dbx = da.sum(axis=0)
    dbh = da.sum(axis=0)
    return dx, dh, dwx, dwh, dbx, dbh
