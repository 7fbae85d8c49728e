"""Quasi-recurrent network: causal convolutions give a candidate and gates, a recurrence without weights mixes
them.

    z[t, n, j]    = tanh(sum[r, i](wz[r, i, j]*padded(x)[t - r, n, i]))
    f[t, n, j]    = sigmoid(sum[r, i](wf[r, i, j]*padded(x)[t - r, n, i]))
    o[t, n, j]    = sigmoid(sum[r, i](wo[r, i, j]*padded(x)[t - r, n, i]))
    c_in[t, n, j] = z[t, n, j]*(1 - f[t, n, j])
    c[-1, n, j]   = h0[n, j]; c[t, n, j] = c[t - 1, n, j]*f[t, n, j] + c_in[t, n, j]
    h[t, n, j]    = c[t, n, j]*o[t, n, j]

Memory beside arguments, results and cache: forward holds up to about the largest of T*N*I*R + T*N*H, 2*T*N*H
and T*N*H + 2*N*H elements, backward the larger of 9*T*N*H + N*H and T*N*I*R + 3*(T + R - 1)*N*I + 7*T*N*H +
N*H.

Source: Bradbury, Merity, Xiong & Socher, "Quasi-Recurrent Neural Networks", 2017.
"""

# Made by derive 0.1.0 from recurrence.layer. Do not edit: change the layer file and run
# `derive generate qrnn`.

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import expit  # NumPy has none


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    wz: np.ndarray  # [R, I, H]
    wf: np.ndarray  # [R, I, H]
    wo: np.ndarray  # [R, I, H]
    x_padded: np.ndarray  # [R + T - 1, N, I]
    z: np.ndarray  # [T, N, H]
    f: np.ndarray  # [T, N, H]
    o: np.ndarray  # [T, N, H]
    c: np.ndarray  # [T + 1, N, H]
    h: np.ndarray  # [T, N, H]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [T, N, I]
    dh0: np.ndarray  # [N, H]
    dwz: np.ndarray  # [R, I, H]
    dwf: np.ndarray  # [R, I, H]
    dwo: np.ndarray  # [R, I, H]


def forward(x, h0, wz, wf, wo):
    """Return (h, cache).

    x: [T, N, I]; h0: [N, H]; wz, wf, wo: [R, I, H]; h: [T, N, H].
    Raises ValueError for another shape or kind.
    """
    x, h0, wz, wf, wo = _expect(x, h0, wz, wf, wo)
    dtype = np.result_type(x, h0, wz, wf, wo)
    R = wz.shape[0]
    T, N, I = x.shape
    H = h0.shape[1]
    x_padded = _pad(x, (R - 1, 0), (0, 0), (0, 0))
    x_windows = sliding_window_view(x_padded, R, axis=0)[:, :, :, ::-1]
    x_columns = np.swapaxes(x_windows, 2, -1).reshape(T * N, I * R)
    z = np.tanh((x_columns @ wz.reshape(I * R, H)).reshape(T, N, H))
    del x_columns
    x_columns = np.swapaxes(x_windows, 2, -1).reshape(T * N, I * R)
    f = expit((x_columns @ wf.reshape(I * R, H)).reshape(T, N, H))
    del x_columns
    x_columns = np.swapaxes(x_windows, 2, -1).reshape(T * N, I * R)
    o = expit((x_columns @ wo.reshape(I * R, H)).reshape(T, N, H))
    del x_columns
    c_in = z * (1 - f)
    c = np.empty((T + 1, N, H), dtype=dtype)
    c[0] = h0
    for t in range(T):
        c[t + 1] = c_in[t] + f[t] * c[t]
    h = o * c[1:]
    dtypes = (x.dtype, h0.dtype, wz.dtype, wf.dtype, wo.dtype)
    return h, Cache(wz, wf, wo, x_padded, z, f, o, c, h, dtypes)


def backward(dh, cache, out=None):
    """Return Gradients(dx, dh0, dwz, dwf, dwo).

        dc_in2[t, n, j]  = dh[t, n, j]*o[t, n, j]
        dc[t, n, j]      = dc_in2[t, n, j] + dc_next[t + 1, n, j]
        dc_next[T, n, j] = 0; dc_next[t, n, j] = dc[t, n, j]*f[t, n, j]
        dpre_o[t, n, j]  = dh[t, n, j]*h[t, n, j]*(1 - o[t, n, j])
        dpre_f[t, n, j]  = dc_next[t, n, j]*(1 - f[t, n, j])*(c[t - 1, n, j] - z[t, n, j])
        dpre_z[t, n, j]  = dc[t, n, j]*(1 - f[t, n, j])*(1 - z[t, n, j]**2)
        dx[j, n, i]      = sum[t, k, r](delta(j, t - r)*dpre_f[t, n, k]*wf[r, i, k])
                           + sum[t, k, r](delta(j, t - r)*dpre_o[t, n, k]*wo[r, i, k])
                           + sum[t, k, r](delta(j, t - r)*dpre_z[t, n, k]*wz[r, i, k])
        dh0[n, j]        = dc_next[0, n, j]
        dwz[r, i, j]     = sum[t, n](dpre_z[t, n, j]*padded(x)[t - r, n, i])
        dwf[r, i, j]     = sum[t, n](dpre_f[t, n, j]*padded(x)[t - r, n, i])
        dwo[r, i, j]     = sum[t, n](dpre_o[t, n, j]*padded(x)[t - r, n, i])

    dh: [T, N, H].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    wz, wf, wo, x_padded, z, f, o, c, h, dtypes = cache
    N = x_padded.shape[1]
    R, I, H = wz.shape
    T = z.shape[0]
    dh = _cotangent("dh", dh, z.shape, np.result_type(*dtypes))
    dc_in2 = dh * o
    dc = np.empty(z.shape, dtype=dh.dtype)
    dc_next = np.empty(z.shape, dtype=dh.dtype)
    dc_next_t = np.zeros((N, H), dtype=dh.dtype)
    for t in reversed(range(T)):
        dc[t] = dc_in2[t] + dc_next_t
        dc_next_t = f[t] * dc[t]
        dc_next[t] = dc_next_t
    dpre_o = dh * h * (1 - o)
    one_minus_f = 1 - f
    dpre_f = dc_next * (c[:-1] - z) * one_minus_f
    dpre_z = dc * one_minus_f * (1 - z * z)
    dx_columns = (dpre_f.reshape(T * N, H) @ np.swapaxes(wf[::-1], 1, -1)).reshape(R, T, N, I)
    dx_padded = np.zeros(x_padded.shape, dtype=dh.dtype)
    for r in range(R):
        dx_padded[r : r + T] += dx_columns[r]
    del dx_columns
    dx = _pad(dx_padded, (1 - R, 0), (0, 0), (0, 0))
    dx_padded2_columns = (dpre_o.reshape(T * N, H) @ np.swapaxes(wo[::-1], 1, -1)).reshape(R, T, N, I)
    dx_padded2 = np.zeros(x_padded.shape, dtype=dh.dtype)
    for r in range(R):
        dx_padded2[r : r + T] += dx_padded2_columns[r]
    del dx_padded2_columns
    dx += _pad(dx_padded2, (1 - R, 0), (0, 0), (0, 0))
    dx_padded3_columns = (dpre_z.reshape(T * N, H) @ np.swapaxes(wz[::-1], 1, -1)).reshape(R, T, N, I)
    dx_padded3 = np.zeros(x_padded.shape, dtype=dh.dtype)
    for r in range(R):
        dx_padded3[r : r + T] += dx_padded3_columns[r]
    del dx_padded3_columns
    dx += _pad(dx_padded3, (1 - R, 0), (0, 0), (0, 0))
    dh0 = dc_next_t
    x_windows = sliding_window_view(x_padded, R, axis=0)[:, :, :, ::-1]
    x_columns = np.swapaxes(x_windows, 2, -1).reshape(T * N, I * R)
    dwz = (x_columns.T @ dpre_z.reshape(T * N, H)).reshape(R, I, H)
    del x_columns
    x_columns = np.swapaxes(x_windows, 2, -1).reshape(T * N, I * R)
    dwf = (x_columns.T @ dpre_f.reshape(T * N, H)).reshape(R, I, H)
    del x_columns
    x_columns = np.swapaxes(x_windows, 2, -1).reshape(T * N, I * R)
    dwo = (x_columns.T @ dpre_o.reshape(T * N, H)).reshape(R, I, H)
    del x_columns
    return _into(out, Gradients(*map(np.asarray, (dx, dh0, dwz, dwf, dwo), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("T", "N", "I")),
    "h0": ("Real", ("N", "H")),
    "wz": ("Real", ("R", "I", "H")),
    "wf": ("Real", ("R", "I", "H")),
    "wo": ("Real", ("R", "I", "H")),
}
_KINDS = {"Real": "f"}


def _expect(*inputs):
    """Return the inputs as arrays; ValueError for another kind or shape."""
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


def _pad(x, *widths, fill=0):
    """Return x with so many elements of fill before and after the last axes, a pair each; below 0 they are cut off."""
    cut, place, shape = [...], [...], list(x.shape)
    for axis, (before, after) in enumerate(widths, x.ndim - len(widths)):
        length = x.shape[axis]
        first = min(max(-before, 0), length)
        last = max(min(length + after, length), first)
        cut.append(slice(first, last))
        place.append(slice(first + before, last + before))
        shape[axis] += before + after
    inside = x[tuple(cut)]
    if inside.shape == tuple(shape):
        return inside
    padded = np.full(shape, fill, dtype=x.dtype)
    padded[tuple(place)] = inside
    return padded
