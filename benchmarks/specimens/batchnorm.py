"""Batch normalization by hand, stage by stage, as in the paper of Ioffe & Szegedy (2015)."""

import numpy as np


def forward(x, gamma, beta, eps=1e-5):
    """Return (y, cache)."""
    mu = x.mean(axis=0)
    xc = x - mu
    var = (xc**2).mean(axis=0)
    std = np.sqrt(var + eps)
    xhat = xc / std
    return gamma * xhat + beta, (x, xc, xhat, std, gamma)


def backward(dout, cache):
    """Return the gradients of x, gamma and beta."""
    x, xc, xhat, std, gamma = cache
    N = dout.shape[0]
    dgamma = (dout * xhat).sum(axis=0)
    dbeta = dout.sum(axis=0)
    dxhat = dout * gamma
    dvar = -0.5 * (dxhat * xc).sum(axis=0) / std**3
    dmu = -(dxhat / std).sum(axis=0) - 2 * dvar * xc.mean(axis=0)
    dx = dxhat / std + 2 * dvar * xc / N + dmu / N
    return dx, dgamma, dbeta
