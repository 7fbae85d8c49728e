"""Two causal convolutions, one through tanh, the other, through a sigmoid, its gate.

    a[n, t, f]         = sum[r, c](wf[r, c, f]*padded(x)[n, t - r*dilation, c]) + bf[f]
    g[n, t, f]         = sum[r, c](wg[r, c, f]*padded(x)[n, t - r*dilation, c]) + bg[f]
    sigmoid_g[n, t, f] = sigmoid(g[n, t, f])
    tanh_a[n, t, f]    = tanh(a[n, t, f])
    y[n, t, f]         = sigmoid_g[n, t, f]*tanh_a[n, t, f]

Memory beside arguments, results and cache: forward holds up to about N*T*C*R + 3*N*T*F elements, backward the
larger of 4*N*T*F and N*T*C*R + 2*N*(T + R*dilation - dilation)*C + 2*N*T*F.

Source: van den Oord et al., "WaveNet: A Generative Model for Raw Audio", 2016.
"""

# Made by derive 0.1.0 from convolution.layer. Do not edit: change the layer file and run
# `derive generate gated_conv1d`.

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import expit  # NumPy has none


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    wf: np.ndarray  # [R, C, F]
    wg: np.ndarray  # [R, C, F]
    x_padded: np.ndarray  # [N, T + R*dilation - dilation, C]
    sigmoid_g: np.ndarray  # [N, T, F]
    tanh_a: np.ndarray  # [N, T, F]
    y: np.ndarray  # [N, T, F]
    dilation: int
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [N, T, C]
    dwf: np.ndarray  # [R, C, F]
    dbf: np.ndarray  # [F]
    dwg: np.ndarray  # [R, C, F]
    dbg: np.ndarray  # [F]


def forward(x, wf, bf, wg, bg, *, dilation=1):
    """Return (y, cache).

    x: [N, T, C]; wf, wg: [R, C, F]; bf, bg: [F]; y: [N, T, F].
    Raises ValueError for another shape or kind.
    """
    x, wf, bf, wg, bg = _expect(x, wf, bf, wg, bg)
    R, _, F = wf.shape
    N, T, C = x.shape
    _at_least_one(dilation=dilation)
    x_padded = _pad(x, (R * dilation - dilation, 0), (0, 0))
    x_windows = sliding_window_view(x_padded, (R - 1) * dilation + 1, axis=1)
    x_windows = x_windows[:, R * dilation - (R - 1) * dilation - dilation :, :, ::dilation][:, :, :, ::-1]
    x_columns = np.swapaxes(x_windows, 2, -1).reshape(N * T, C * R)
    a = (x_columns @ wf.reshape(C * R, F)).reshape(N, T, F) + bf
    del x_columns
    x_columns = np.swapaxes(x_windows, 2, -1).reshape(N * T, C * R)
    g = (x_columns @ wg.reshape(C * R, F)).reshape(N, T, F) + bg
    del x_columns
    sigmoid_g = expit(g)
    tanh_a = np.tanh(a)
    y = sigmoid_g * tanh_a
    dtypes = (x.dtype, wf.dtype, bf.dtype, wg.dtype, bg.dtype)
    return y, Cache(wf, wg, x_padded, sigmoid_g, tanh_a, y, dilation, dtypes)


def backward(dy, cache, out=None):
    """Return Gradients(dx, dwf, dbf, dwg, dbg).

        dg[n, t, f]  = dy[n, t, f]*y[n, t, f]*(1 - sigmoid_g[n, t, f])
        da[n, t, f]  = dy[n, t, f]*sigmoid_g[n, t, f]*(1 - tanh_a[n, t, f]**2)
        dx[n, i, c]  = sum[t, f, r](delta(i, t - r*dilation)*da[n, t, f]*wf[r, c, f])
                       + sum[t, f, r](delta(i, t - r*dilation)*dg[n, t, f]*wg[r, c, f])
        dwf[r, c, f] = sum[n, t](da[n, t, f]*padded(x)[n, t - r*dilation, c])
        dbf[f]       = sum[n, t](da[n, t, f])
        dwg[r, c, f] = sum[n, t](dg[n, t, f]*padded(x)[n, t - r*dilation, c])
        dbg[f]       = sum[n, t](dg[n, t, f])

    dy: [N, T, F].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    wf, wg, x_padded, sigmoid_g, tanh_a, y, dilation, dtypes = cache
    R, C, F = wf.shape
    T = sigmoid_g.shape[1]
    N = x_padded.shape[0]
    dy = _cotangent("dy", dy, sigmoid_g.shape, np.result_type(*dtypes))
    dg = dy * y * (1 - sigmoid_g)
    da = dy * sigmoid_g * (1 - tanh_a * tanh_a)
    dx_columns = da[:, None, :, :] @ np.swapaxes(wf[::-1], 1, -1)
    dx_padded = np.zeros(x_padded.shape, dtype=dy.dtype)
    for r in range(R):
        dx_padded[:, r * dilation : r * dilation + T] += dx_columns[:, r]
    del dx_columns
    dx = _pad(dx_padded, (-(R - 1) * dilation, 0), (0, 0))
    dx_padded2_columns = dg[:, None, :, :] @ np.swapaxes(wg[::-1], 1, -1)
    dx_padded2 = np.zeros(x_padded.shape, dtype=dy.dtype)
    for r in range(R):
        dx_padded2[:, r * dilation : r * dilation + T] += dx_padded2_columns[:, r]
    del dx_padded2_columns
    dx += _pad(dx_padded2, (-(R - 1) * dilation, 0), (0, 0))
    x_windows = sliding_window_view(x_padded, (R - 1) * dilation + 1, axis=1)
    x_windows = x_windows[:, R * dilation - (R - 1) * dilation - dilation :, :, ::dilation][:, :, :, ::-1]
    x_columns = np.swapaxes(x_windows, 2, -1).reshape(N * T, C * R)
    dwf = (x_columns.T @ da.reshape(N * T, F)).reshape(R, C, F)
    del x_columns
    dbf = da.sum(axis=(0, 1))
    x_columns = np.swapaxes(x_windows, 2, -1).reshape(N * T, C * R)
    dwg = (x_columns.T @ dg.reshape(N * T, F)).reshape(R, C, F)
    del x_columns
    dbg = dg.sum(axis=(0, 1))
    return _into(out, Gradients(*map(np.asarray, (dx, dwf, dbf, dwg, dbg), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("N", "T", "C")),
    "wf": ("Real", ("R", "C", "F")),
    "bf": ("Real", ("F",)),
    "wg": ("Real", ("R", "C", "F")),
    "bg": ("Real", ("F",)),
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


def _at_least_one(**numbers):
    """Raise ValueError for a number below 1."""
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name}: expected at least 1, got {number}")


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
