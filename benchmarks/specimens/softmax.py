"""Softmax over the last axis by hand."""

import numpy as np


def forward(z):
    """Return (y, cache)."""
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True)
    return y, (y, z)


def backward(dy, cache):
    """Return the gradient of z."""
    y, z = cache
    inner = (dy * y).sum(axis=-1, keepdims=True)
    dz = y * (dy - inner)
    return dz
