"""Convolution along one axis.

    y[n, f, p] = sum[c, r](w[f, c, r]*padded(x)[n, c, p*stride + r*dilation - pad]) + b[f]

Memory beside arguments, results and cache: forward holds up to about N*C*R*P + N*F*P elements, backward the
larger of N*C*R*P + C*F*R and N*C*R*P + N*C*(W + 2*pad) + N*F*P.

Source: Waibel, Hanazawa, Hinton, Shikano & Lang, "Phoneme Recognition Using Time-Delay Neural Networks",
1989.
"""

# Made by derive 0.1.0 from convolution.layer. Do not edit: change the layer file and run
# `derive generate conv1d`.

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    w: np.ndarray  # [F, C, R]
    x_padded: np.ndarray  # [N, C, 2*pad + W]
    stride: int
    pad: int
    dilation: int
    P: int
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [N, C, W]
    dw: np.ndarray  # [F, C, R]
    db: np.ndarray  # [F]


def forward(x, w, b, *, stride=1, pad=0, dilation=1):
    """Return (y, cache).

    x: [N, C, W]; w: [F, C, R]; b: [F]; y: [N, F, P].
    Raises ValueError for another shape or kind.
    """
    x, w, b = _expect(x, w, b)
    F, _, R = w.shape
    N, C, W = x.shape
    _at_least_one(stride=stride, dilation=dilation)
    P = (W + 2 * pad - (R - 1) * dilation - 1) // stride + 1
    _at_least_one(P=P)
    x_padded = _pad(x, (pad, pad))
    x_windows = sliding_window_view(x_padded, (R - 1) * dilation + 1, axis=2)[:, :, ::stride, ::dilation]
    x_columns = np.swapaxes(x_windows, 2, -1).reshape(N, C * R, P)
    y = w.reshape(F, C * R) @ x_columns + b[:, None]
    del x_columns
    dtypes = (x.dtype, w.dtype, b.dtype)
    return y, Cache(w, x_padded, stride, pad, dilation, P, dtypes)


def backward(dy, cache, out=None):
    """Return Gradients(dx, dw, db).

        dx[n, c, i] = sum[f, p, r](delta(i, p*stride + r*dilation - pad)*dy[n, f, p]*w[f, c, r])
        dw[f, c, r] = sum[n, p](dy[n, f, p]*padded(x)[n, c, p*stride + r*dilation - pad])
        db[f]       = sum[n, p](dy[n, f, p])

    dy: [N, F, P].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    w, x_padded, stride, pad, dilation, P, dtypes = cache
    N = x_padded.shape[0]
    F, C, R = w.shape
    dy = _cotangent("dy", dy, (N, F, P), np.result_type(*dtypes))
    dx_columns = (np.swapaxes(w, 1, -1).reshape(F, C * R).T @ dy).reshape(N, R, C, P)
    dx_padded = np.zeros(x_padded.shape, dtype=dy.dtype)
    for r in range(R):
        dx_padded[:, :, r * dilation : r * dilation + P * stride : stride] += dx_columns[:, r]
    del dx_columns
    dx = _pad(dx_padded, (-pad, -pad))
    x_windows = sliding_window_view(x_padded, (R - 1) * dilation + 1, axis=2)[:, :, ::stride, ::dilation]
    x_columns = x_windows.transpose(1, 3, 0, 2).reshape(C * R, N * P)
    dw = (np.swapaxes(dy, 0, 1).reshape(F, N * P) @ x_columns.T).reshape(F, C, R)
    del x_columns
    db = dy.sum(axis=(0, 2))
    return _into(out, Gradients(*map(np.asarray, (dx, dw, db), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("N", "C", "W")),
    "w": ("Real", ("F", "C", "R")),
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
