"""A network across the positions, then one across the channels, each with layer normalization before it.

    mu[n, t]        = mean[d](x[n, t, d])
    xc[n, t, d]     = x[n, t, d] - mu[n, t]
    var[n, t]       = mean[d](xc[n, t, d]**2)
    rstd[n, t]      = 1/sqrt(var[n, t] + 1e-05)
    xhat[n, t, d]   = rstd[n, t]*xc[n, t, d]
    a[n, t, d]      = gamma1[d]*xhat[n, t, d] + beta1[d]
    u_h[n, c, o]    = sum[i](w1[i, o]*a[n, i, c]) + b1[o]
    u_a[n, c, h]    = 0.5*erfc(-0.5*sqrt(2)*u_h[n, c, h])*u_h[n, c, h]
    u[n, c, o]      = sum[i](w2[i, o]*u_a[n, c, i]) + b2[o]
    h[n, t, c]      = u[n, c, t] + x[n, t, c]
    b_mu[n, t]      = mean[d](h[n, t, d])
    hc[n, t, d]     = h[n, t, d] - b_mu[n, t]
    b_var[n, t]     = mean[d](hc[n, t, d]**2)
    rstd2[n, t]     = 1/sqrt(b_var[n, t] + 1e-05)
    b_xhat[n, t, d] = rstd2[n, t]*hc[n, t, d]
    b[n, t, d]      = gamma2[d]*b_xhat[n, t, d] + beta2[d]
    v_h[n, t, o]    = sum[i](w3[i, o]*b[n, t, i]) + b3[o]
    v_a[n, t, h]    = 0.5*erfc(-0.5*sqrt(2)*v_h[n, t, h])*v_h[n, t, h]
    v[n, t, o]      = sum[i](w4[i, o]*v_a[n, t, i]) + b4[o]
    y[n, t, c]      = h[n, t, c] + v[n, t, c]

Source: Tolstikhin et al., "MLP-Mixer: An all-MLP Architecture for Vision", 2021.
"""

# Made by derive 0.1.0 from transformer.layer. Do not edit: change the layer file and run
# `derive generate mixer_block`.

import math
from typing import NamedTuple

import numpy as np
from scipy.special import erfc  # NumPy has none


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    gamma1: np.ndarray  # [C]
    w1: np.ndarray  # [T, S]
    w2: np.ndarray  # [S, T]
    gamma2: np.ndarray  # [C]
    w3: np.ndarray  # [C, M]
    w4: np.ndarray  # [M, C]
    rstd: np.ndarray  # [N, T, 1]
    xhat: np.ndarray  # [N, T, C]
    a: np.ndarray  # [N, T, C]
    u_h: np.ndarray  # [N, C, S]
    u_a: np.ndarray  # [N, C, S]
    rstd2: np.ndarray  # [N, T, 1]
    b_xhat: np.ndarray  # [N, T, C]
    b: np.ndarray  # [N, T, C]
    v_h: np.ndarray  # [N, T, M]
    v_a: np.ndarray  # [N, T, M]
    erfc_v_h: np.ndarray  # [N, T, M]
    erfc_u_h: np.ndarray  # [N, C, S]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [N, T, C]
    dgamma1: np.ndarray  # [C]
    dbeta1: np.ndarray  # [C]
    dw1: np.ndarray  # [T, S]
    db1: np.ndarray  # [S]
    dw2: np.ndarray  # [S, T]
    db2: np.ndarray  # [T]
    dgamma2: np.ndarray  # [C]
    dbeta2: np.ndarray  # [C]
    dw3: np.ndarray  # [C, M]
    db3: np.ndarray  # [M]
    dw4: np.ndarray  # [M, C]
    db4: np.ndarray  # [C]


def forward(x, gamma1, beta1, w1, b1, w2, b2, gamma2, beta2, w3, b3, w4, b4):
    """Return (y, cache).

    x, y: [N, T, C]; gamma1, beta1, gamma2, beta2, b4: [C]; w1: [T, S]; b1: [S]; w2: [S, T];
    b2: [T]; w3: [C, M]; b3: [M]; w4: [M, C].
    Raises ValueError for another shape or kind or an empty axis.
    """
    x, gamma1, beta1, w1, b1, w2, b2, gamma2, beta2, w3, b3, w4, b4 = _expect(
        x, gamma1, beta1, w1, b1, w2, b2, gamma2, beta2, w3, b3, w4, b4
    )
    mu = x.mean(axis=-1, keepdims=True)
    xc = x - mu
    xc -= xc.mean(axis=-1, keepdims=True)
    var = (xc * xc).mean(axis=-1, keepdims=True)
    rstd = 1 / np.sqrt(var + 1e-05)
    xhat = rstd * xc
    a = gamma1 * xhat + beta1
    u_h = np.einsum("nic,io->nco", a, w1, optimize=True) + b1
    erfc_u_h = erfc(-u_h / math.sqrt(2))
    u_a = 0.5 * u_h * erfc_u_h
    u = u_a @ w2 + b2
    h = x + np.swapaxes(u, 1, -1)
    b_mu = h.mean(axis=-1, keepdims=True)
    hc = h - b_mu
    hc -= hc.mean(axis=-1, keepdims=True)
    b_var = (hc * hc).mean(axis=-1, keepdims=True)
    rstd2 = 1 / np.sqrt(b_var + 1e-05)
    b_xhat = rstd2 * hc
    b = gamma2 * b_xhat + beta2
    v_h = b @ w3 + b3
    erfc_v_h = erfc(-v_h / math.sqrt(2))
    v_a = 0.5 * v_h * erfc_v_h
    v = v_a @ w4 + b4
    y = h + v
    dtypes = (
        x.dtype,
        gamma1.dtype,
        beta1.dtype,
        w1.dtype,
        b1.dtype,
        w2.dtype,
        b2.dtype,
        gamma2.dtype,
        beta2.dtype,
        w3.dtype,
        b3.dtype,
        w4.dtype,
        b4.dtype,
    )
    return y, Cache(
        gamma1, w1, w2, gamma2, w3, w4, rstd, xhat, a, u_h, u_a, rstd2, b_xhat, b, v_h, v_a, erfc_v_h, erfc_u_h, dtypes
    )


def backward(dy, cache, out=None):
    """Return Gradients(dx, dgamma1, dbeta1, dw1, db1, dw2, db2, dgamma2, dbeta2, dw3, db3, dw4, db4).

        dv_a[n, t, h]    = sum[o](w4[h, o]*dy[n, t, o])
        dv_h[n, t, o]    = dv_a[n, t, o]*
                           (0.5*sqrt(2)*exp(-0.5*v_h[n, t, o]**2)*v_h[n, t, o]/sqrt(pi) + 0.5*
                           erfc(-0.5*sqrt(2)*v_h[n, t, o]))
        db[n, t, d]      = sum[o](w3[d, o]*dv_h[n, t, o])
        db_xhat[n, t, d] = gamma2[d]*db[n, t, d]
        dh[n, t, c]      = rstd2[n, t]*
                           (db_xhat[n, t, c] - b_xhat[n, t, c]*mean[d](b_xhat[n, t, d]*db_xhat[n, t, d])
                           - mean[d](db_xhat[n, t, d])) + dy[n, t, c]
        du_a[n, c, h]    = sum[o](w2[h, o]*dh[n, o, c])
        du_h[n, c, o]    = du_a[n, c, o]*
                           (0.5*sqrt(2)*exp(-0.5*u_h[n, c, o]**2)*u_h[n, c, o]/sqrt(pi) + 0.5*
                           erfc(-0.5*sqrt(2)*u_h[n, c, o]))
        dat[n, c, t]     = sum[o](w1[t, o]*du_h[n, c, o])
        dxhat[n, t, d]   = gamma1[d]*dat[n, d, t]
        dx[n, t, d]      = rstd[n, t]*(dxhat[n, t, d] - xhat[n, t, d]*mean[k](dxhat[n, t, k]*xhat[n, t, k])
                           - mean[k](dxhat[n, t, k])) + dh[n, t, d]
        dgamma1[d]       = sum[n, t](dat[n, d, t]*xhat[n, t, d])
        dbeta1[d]        = sum[n, t](dat[n, d, t])
        dw1[i, o]        = sum[n, c](a[n, i, c]*du_h[n, c, o])
        db1[o]           = sum[n, c](du_h[n, c, o])
        dw2[i, o]        = sum[n, c](dh[n, o, c]*u_a[n, c, i])
        db2[o]           = sum[n, c](dh[n, o, c])
        dgamma2[d]       = sum[n, t](b_xhat[n, t, d]*db[n, t, d])
        dbeta2[d]        = sum[n, t](db[n, t, d])
        dw3[i, o]        = sum[n, t](b[n, t, i]*dv_h[n, t, o])
        db3[o]           = sum[n, t](dv_h[n, t, o])
        dw4[i, o]        = sum[n, t](dy[n, t, o]*v_a[n, t, i])
        db4[o]           = sum[n, t](dy[n, t, o])

    dy: [N, T, C].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    gamma1 = cache.gamma1
    w1 = cache.w1
    w2 = cache.w2
    gamma2 = cache.gamma2
    w3 = cache.w3
    w4 = cache.w4
    rstd = cache.rstd
    xhat = cache.xhat
    a = cache.a
    u_h = cache.u_h
    u_a = cache.u_a
    rstd2 = cache.rstd2
    b_xhat = cache.b_xhat
    b = cache.b
    v_h = cache.v_h
    v_a = cache.v_a
    erfc_v_h = cache.erfc_v_h
    erfc_u_h = cache.erfc_u_h
    dtypes = cache.dtypes
    N = rstd.shape[0]
    T = w1.shape[0]
    C = gamma1.shape[0]
    M = w3.shape[1]
    dy = _cotangent("dy", dy, xhat.shape, np.result_type(*dtypes))
    dv_a = dy @ w4.T
    dv_h = dv_a * (0.5 * erfc_v_h + v_h * np.exp(-0.5 * v_h * v_h) / math.sqrt(2 * np.pi))
    db = dv_h @ w3.T
    db_xhat = gamma2 * db
    dh = db_xhat - db_xhat.mean(axis=-1, keepdims=True) - (b_xhat * db_xhat).mean(axis=-1, keepdims=True) * b_xhat
    dh = dy + rstd2 * dh
    du_a = np.einsum("noc,ho->nch", dh, w2, optimize=True)
    du_h = du_a * (0.5 * erfc_u_h + u_h * np.exp(-0.5 * u_h * u_h) / math.sqrt(2 * np.pi))
    dat = du_h @ w1.T
    dxhat = gamma1 * np.swapaxes(dat, 1, -1)
    dx = dh + rstd * (dxhat - dxhat.mean(axis=-1, keepdims=True) - (xhat * dxhat).mean(axis=-1, keepdims=True) * xhat)
    dgamma1 = (np.swapaxes(xhat, 1, -1) * dat).sum(axis=(0, 2))
    dbeta1 = dat.sum(axis=(0, 2))
    dw1 = np.einsum("nic,nco->io", a, du_h, optimize=True)
    db1 = du_h.sum(axis=(0, 1))
    dw2 = np.einsum("nci,noc->io", u_a, dh, optimize=True)
    db2 = dh.sum(axis=(0, 2))
    dgamma2 = (b_xhat * db).sum(axis=(0, 1))
    dbeta2 = db.sum(axis=(0, 1))
    dw3 = b.reshape(N * T, C).T @ dv_h.reshape(N * T, M)
    db3 = dv_h.sum(axis=(0, 1))
    dw4 = v_a.reshape(N * T, M).T @ dy.reshape(N * T, C)
    db4 = dy.sum(axis=(0, 1))
    gradients = (dx, dgamma1, dbeta1, dw1, db1, dw2, db2, dgamma2, dbeta2, dw3, db3, dw4, db4)
    return _into(out, Gradients(*map(np.asarray, gradients, dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("N", "T", "C")),
    "gamma1": ("Real", ("C",)),
    "beta1": ("Real", ("C",)),
    "w1": ("Real", ("T", "S")),
    "b1": ("Real", ("S",)),
    "w2": ("Real", ("S", "T")),
    "b2": ("Real", ("T",)),
    "gamma2": ("Real", ("C",)),
    "beta2": ("Real", ("C",)),
    "w3": ("Real", ("C", "M")),
    "b3": ("Real", ("M",)),
    "w4": ("Real", ("M", "C")),
    "b4": ("Real", ("C",)),
}
_KINDS = {"Real": "f"}
# What is undefined where an axis has no elements.
_NONEMPTY = {
    "C": "mean[d]",
}


def _expect(*inputs):
    """Return the inputs as arrays; ValueError for another kind or shape, or an empty axis."""
    arrays = [np.asarray(value) for value in inputs]
    sizes = {}  # of every axis: its length, and the input it is from
    for k, (name, (kind, axes)) in enumerate(_INPUTS.items()):
        array, known = arrays[k], {axis: sizes[axis] for axis in axes if axis in sizes}
        if array.dtype.kind not in _KINDS[kind]:
            raise ValueError(f"{name}: expected {kind} elements, got {array.dtype}")
        shape = array.shape
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
