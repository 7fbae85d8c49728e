"""Means of a random walk seen through noise, and the mean negative log-likelihood of the observations.

q is the variance of a step, r that of the noise; m0 and p0 are the mean and the variance before the first
step.

    v[t, n]        = p[t - 1, n] + q[n]
    vc[t, n]       = v[t, n] + r[n]
    gain[t, n]     = v[t, n]/vc[t, n]
    p[-1, n]       = p0[n]; p[t, n] = v[t, n]*(1 - gain[t, n])
    error[t, n]    = x[t, n] - m[t - 1, n]
    m[-1, n]       = m0[n]; m[t, n] = error[t, n]*gain[t, n] + m[t - 1, n]
    pre_loss[t, n] = 2*pi*vc[t, n]
    loss           = 0.5*mean[n](sum[t](error[t, n]**2/vc[t, n] + log(pre_loss[t, n])))

Source: Kalman, "A New Approach to Linear Filtering and Prediction Problems", 1960.
"""

# Made by derive 0.1.0 from sequence.layer. Do not edit: change the layer file and run
# `derive generate kalman_filter`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    v: np.ndarray  # [T, N]
    vc: np.ndarray  # [T, N]
    gain: np.ndarray  # [T, N]
    error: np.ndarray  # [T, N]
    pre_loss: np.ndarray  # [T, N]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [T, N]
    dq: np.ndarray  # [N]
    dr: np.ndarray  # [N]
    dm0: np.ndarray  # [N]
    dp0: np.ndarray  # [N]


def forward(x, q, r, m0, p0):
    """Return ((m, loss), cache).

    x, m: [T, N]; q, r, p0: [N] above 0; m0: [N]; loss: scalar.
    Raises ValueError for another shape or kind or an empty axis.
    """
    x, q, r, m0, p0 = _expect(x, q, r, m0, p0)
    dtype = np.result_type(x, q, r, m0, p0)
    T = x.shape[0]
    v = np.empty(x.shape, dtype=dtype)
    vc = np.empty(x.shape, dtype=dtype)
    gain = np.empty(x.shape, dtype=dtype)
    p = p0
    for t in range(T):
        v_t = q + p
        v[t] = v_t
        vc_t = r + v_t
        vc[t] = vc_t
        gain[t] = v_t / vc_t
        p = v_t * (1 - gain[t])
    error = np.empty(x.shape, dtype=dtype)
    m = np.empty(x.shape, dtype=dtype)
    m_t = m0
    for t in range(T):
        error[t] = x[t] - m_t
        m_t = m_t + gain[t] * error[t]
        m[t] = m_t
    pre_loss = 2 * np.pi * vc
    loss = 0.5 * (error * error / vc + np.log(pre_loss)).sum(axis=0).mean()
    dtypes = (x.dtype, q.dtype, r.dtype, m0.dtype, p0.dtype)
    return (m, loss), Cache(v, vc, gain, error, pre_loss, dtypes)


def backward(dm, dloss, cache, out=None):
    """Return Gradients(dx, dq, dr, dm0, dp0).

        dx_in[t, n]      = dloss*error[t, n]/(N*vc[t, n])
        dm_total[t, n]   = dm[t, n] + dm_next[t + 1, n]
        dx[t, n]         = dm_total[t, n]*gain[t, n] + dx_in[t, n]
        dm_next[T, n]    = 0; dm_next[t, n] = dm_total[t, n] - dx[t, n]
        dgain_in[t, n]   = dm_total[t, n]*error[t, n]
        dvc_factor[t, n] = gain[t, n]/vc[t, n]
        dvc_in[t, n]     = dloss*(pi/pre_loss[t, n] - 0.5*error[t, n]**2/vc[t, n]**2)/N
        dv_factor[t, n]  = 1/vc[t, n]
        dv_factor2[t, n] = 1 - gain[t, n]
        dgain[t, n]      = dgain_in[t, n] - dv[t + 1, n]*v[t, n]
        dvc[t, n]        = dvc_in[t, n] - dgain[t, n]*dvc_factor[t, n]
        dv[T, n]         = 0; dv[t, n] = dgain[t, n]*dv_factor[t, n] + dv[t + 1, n]*dv_factor2[t, n] + dvc[t, n]
        dq[n]            = sum[t](dv[t, n])
        dr[n]            = sum[t](dvc[t, n])
        dm0[n]           = dm_next[0, n]
        dp0[n]           = dv[0, n]

    dm: [T, N]; dloss: scalar.
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    v, vc, gain, error, pre_loss, dtypes = cache
    T, N = v.shape
    dm = _cotangent("dm", dm, v.shape, np.result_type(*dtypes))
    dloss = _cotangent("dloss", dloss, (), np.result_type(*dtypes))
    dx_in = dloss / N * error / vc
    dm_total = np.empty(v.shape, dtype=dm.dtype)
    dx = np.empty(v.shape, dtype=dm.dtype)
    dm_next = np.zeros((N,), dtype=dm.dtype)
    for t in reversed(range(T)):
        dm_total_t = dm[t] + dm_next
        dm_total[t] = dm_total_t
        dx[t] = dx_in[t] + gain[t] * dm_total_t
        dm_next = dm_total_t - dx[t]
    dgain_in = error * dm_total
    dvc_factor = gain / vc
    dvc_in = dloss / N * (np.pi / pre_loss - 0.5 * error * error / (vc * vc))
    dv_factor = 1 / vc
    dv_factor2 = 1 - gain
    dvc = np.empty(v.shape, dtype=dm.dtype)
    dv = np.empty(v.shape, dtype=dm.dtype)
    dv_t = np.zeros((N,), dtype=dm.dtype)
    for t in reversed(range(T)):
        dgain = dgain_in[t] - v[t] * dv_t
        dvc[t] = dvc_in[t] - dvc_factor[t] * dgain
        dv_t = dvc[t] + dv_factor[t] * dgain + dv_factor2[t] * dv_t
        dv[t] = dv_t
    dq = dv.sum(axis=0)
    dr = dvc.sum(axis=0)
    dm0 = dm_next
    dp0 = dv_t
    return _into(out, Gradients(*map(np.asarray, (dx, dq, dr, dm0, dp0), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("T", "N")),
    "q": ("Positive", ("N",)),
    "r": ("Positive", ("N",)),
    "m0": ("Real", ("N",)),
    "p0": ("Positive", ("N",)),
}
_KINDS = {"Real": "f", "Positive": "f"}
# What is undefined where an axis has no elements.
_NONEMPTY = {
    "N": "mean[n]",
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
