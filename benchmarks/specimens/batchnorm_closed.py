"""Batch normalization by hand, in closed form, with a dictionary of results."""

import numpy as np


def batchnorm_forward(x, gamma, beta, eps=1e-5):
    """Return (y, cache)."""
    xc = x - x.mean(axis=0)
    rstd = 1 / np.sqrt((xc * xc).mean(axis=0) + eps)
    xhat = xc * rstd
    cache = {"xc": xc, "xhat": xhat, "rstd": rstd, "gamma": gamma}
    return gamma * xhat + beta, cache


def batchnorm_backward(dout, cache):
    """Return a dictionary of the gradients."""
    xhat, rstd, gamma = cache["xhat"], cache["rstd"], cache["gamma"]
    N, D = dout.shape
    grads = {}
    grads["gamma"] = np.sum(dout * xhat, axis=0)
    grads["beta"] = np.sum(dout, axis=0)
    grads["x"] = gamma * rstd / N * (N * dout - grads["beta"] - xhat * grads["gamma"])
    return grads
