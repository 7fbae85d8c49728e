"""The mean cross-entropy of logits with labels by hand; the gradient of the loss itself is 1."""

import numpy as np


def backward(z, t):
    """Return the gradient of the logits."""
    n = z.shape[0]
    rows = np.arange(n)
    shifted = z - z.max(axis=1, keepdims=True)
    e = np.exp(shifted)
    p = e / e.sum(axis=1, keepdims=True)
    dz = p.copy()
    dz[rows, t] -= 1
    dz = dz / n
    return dz
