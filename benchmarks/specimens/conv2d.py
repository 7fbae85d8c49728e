"""A convolution of images by hand, with stride, padding and dilation, a kernel position at a time."""

import numpy as np


def forward(x, w, b, stride=1, pad=0, dilation=1):
    """Return (y, cache)."""
    n, c, height, width = x.shape
    f, _, r_size, s_size = w.shape
    rows = (height + 2 * pad - dilation * (r_size - 1) - 1) // stride + 1
    columns = (width + 2 * pad - dilation * (s_size - 1) - 1) // stride + 1
    xp = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    y = np.zeros((n, f, rows, columns)) + b[:, None, None]
    for r in range(r_size):
        for s in range(s_size):
            top, left = r * dilation, s * dilation
            window = xp[:, :, top : top + stride * rows : stride, left : left + stride * columns : stride]
            y += np.einsum("ncpq,fc->nfpq", window[:, :, :rows, :columns], w[:, :, r, s])
    return y, (x, xp, w, stride, pad, dilation)


def backward(dy, cache):
    """Return the gradients of x, w and b."""
    x, xp, w, stride, pad, dilation = cache
    height, width = x.shape[2:]
    r_size, s_size = w.shape[2:]
    rows, columns = dy.shape[2:]
    dxp = np.zeros_like(xp)
    dw = np.zeros_like(w)
    for r in range(r_size):
        for s in range(s_size):
            down = slice(r * dilation, r * dilation + stride * (rows - 1) + 1, stride)
            across = slice(s * dilation, s * dilation + stride * (columns - 1) + 1, stride)
            dxp[:, :, down, across] += np.einsum("nfpq,fc->ncpq", dy, w[:, :, r, s])
            dw[:, :, r, s] = np.einsum("nfpq,ncpq->fc", dy, xp[:, :, down, across])
    dx = dxp[:, :, pad : pad + height, pad : pad + width]
    db = dy.sum(axis=(0, 2, 3))
    return dx, dw, db
