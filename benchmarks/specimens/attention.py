"""Scaled dot-product attention by hand: queries [T, D], keys [S, D], values [S, E], with batch axes in front."""

import numpy as np


def forward(q, k, v):
    """Return (y, cache)."""
    scale = 1 / np.sqrt(q.shape[-1])
    s = scale * (q @ k.swapaxes(-1, -2))
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    p = e / e.sum(axis=-1, keepdims=True)
    return p @ v, (q, k, v, s, p, scale)


def backward(dy, cache):
    """Return the gradients of q, k and v."""
    q, k, v, s, p, scale = cache
    dv = p.swapaxes(-1, -2) @ dy
    dp = dy @ v.swapaxes(-1, -2)
    inner = (dp * p).sum(axis=-1, keepdims=True)
    ds = p * (dp - inner)
    dq = scale * (ds @ k)
    dk = scale * (ds.swapaxes(-1, -2) @ q)
    return dq, dk, dv
