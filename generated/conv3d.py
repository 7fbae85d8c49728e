"""Convolution of volumes, or of videos.

    y[n, f, o, p, q] = sum[c, r, s, t](w[f, c, r, s, t]*
                       padded(x)[n, c, o*stride + r - pad, p*stride + s - pad, q*stride + t - pad]) + b[f]

Memory beside arguments, results and cache: forward holds up to about N*C*R*S*T*O*P*Q + N*F*O*P*Q elements,
backward the larger of N*C*R*S*T*O*P*Q + C*F*R*S*T and N*C*R*S*T*O*P*Q +
N*C*(D + 2*pad)*(H + 2*pad)*(W + 2*pad) + N*F*O*P*Q.

Source: Ji, Xu, Yang & Yu, "3D Convolutional Neural Networks for Human Action Recognition", 2013.
"""

# Made by derive 0.1.0 from convolution.layer. Do not edit: change the layer file and run
# `derive generate conv3d`.

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    w: np.ndarray  # [F, C, R, S, T]
    x_padded: np.ndarray  # [N, C, 2*pad + D, 2*pad + H, 2*pad + W]
    stride: int
    pad: int
    O: int
    P: int
    Q: int
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [N, C, D, H, W]
    dw: np.ndarray  # [F, C, R, S, T]
    db: np.ndarray  # [F]


def forward(x, w, b, *, stride=1, pad=0):
    """Return (y, cache).

    x: [N, C, D, H, W]; w: [F, C, R, S, T]; b: [F]; y: [N, F, O, P, Q].
    Raises ValueError for another shape or kind.
    """
    x, w, b = _expect(x, w, b)
    N, C, D, H, W = x.shape
    F, _, R, S, T = w.shape
    _at_least_one(stride=stride)
    O = (D + 2 * pad - R) // stride + 1
    P = (H + 2 * pad - S) // stride + 1
    Q = (W + 2 * pad - T) // stride + 1
    _at_least_one(O=O, P=P, Q=Q)
    x_padded = _pad(x, (pad, pad), (pad, pad), (pad, pad))
    x_windows = sliding_window_view(x_padded, (R, S, T), axis=(2, 3, 4))[:, :, ::stride, ::stride, ::stride]
    x_columns = x_windows.transpose(0, 1, 5, 6, 7, 2, 3, 4).reshape(N, C * R * S * T, O * P * Q)
    y = (w.reshape(F, C * R * S * T) @ x_columns).reshape(N, F, O, P, Q) + b[:, None, None, None]
    del x_columns
    dtypes = (x.dtype, w.dtype, b.dtype)
    return y, Cache(w, x_padded, stride, pad, O, P, Q, dtypes)


def backward(dy, cache, out=None):
    """Return Gradients(dx, dw, db).

        dx[n, c, i, j, k] = sum[f, o, p, q, r, s, t](delta(i, o*stride + r - pad)*delta(j, p*stride + s - pad)*
                            delta(k, q*stride + t - pad)*dy[n, f, o, p, q]*w[f, c, r, s, t])
        dw[f, c, r, s, t] = sum[n, o, p, q](dy[n, f, o, p, q]*
                            padded(x)[n, c, o*stride + r - pad, p*stride + s - pad, q*stride + t - pad])
        db[f]             = sum[n, o, p, q](dy[n, f, o, p, q])

    dy: [N, F, O, P, Q].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    w, x_padded, stride, pad, O, P, Q, dtypes = cache
    N = x_padded.shape[0]
    F, C, R, S, T = w.shape
    dy = _cotangent("dy", dy, (N, F, O, P, Q), np.result_type(*dtypes))
    dx_columns = np.moveaxis(w, 1, -1).reshape(F, C * R * S * T).T @ dy.reshape(N, F, O * P * Q)
    dx_columns = dx_columns.reshape(N, R, S, T, C, O, P, Q)
    dx_padded = np.zeros(x_padded.shape, dtype=dy.dtype)
    for r in range(R):
        for s in range(S):
            for t in range(T):
                dx_padded[
                    :,
                    :,
                    r : r + O * stride : stride,
                    s : s + P * stride : stride,
                    t : t + Q * stride : stride,
                ] += dx_columns[:, r, s, t]
    del dx_columns
    dx = _pad(dx_padded, (-pad, -pad), (-pad, -pad), (-pad, -pad))
    x_windows = sliding_window_view(x_padded, (R, S, T), axis=(2, 3, 4))[:, :, ::stride, ::stride, ::stride]
    x_columns = x_windows.transpose(1, 5, 6, 7, 0, 2, 3, 4).reshape(C * R * S * T, N * O * P * Q)
    dw = (np.swapaxes(dy, 0, 1).reshape(F, N * O * P * Q) @ x_columns.T).reshape(F, C, R, S, T)
    del x_columns
    db = dy.sum(axis=(0, 2, 3, 4))
    return _into(out, Gradients(*map(np.asarray, (dx, dw, db), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("N", "C", "D", "H", "W")),
    "w": ("Real", ("F", "C", "R", "S", "T")),
    "b": ("Real", ("F",)),
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
