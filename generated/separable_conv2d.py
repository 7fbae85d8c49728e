"""Convolution of each channel by itself, then a linear map of the channels at each pixel.

    h[n, c, p, q] = sum[r, s](w[c, r, s]*padded(x)[n, c, p*stride + r - pad, q*stride + s - pad]) + b[c]
    y[n, f, i, j] = sum[c](v[f, c]*h[n, c, i, j]) + a[f]

Memory beside arguments, results and cache: forward holds up to about the larger of 2*N*C*P*Q + C*F and
N*C*P*Q + N*F*P*Q elements, backward the larger of N*C*P*Q + N*F*P*Q + C*F and 2*N*C*P*Q +
N*C*(H + 2*pad)*(W + 2*pad) + N*F*P*Q.

Source: Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", 2017.
"""

# Made by derive 0.1.0 from convolution.layer. Do not edit: change the layer file and run
# `derive generate separable_conv2d`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    w: np.ndarray  # [C, R, S]
    v: np.ndarray  # [F, C]
    x_padded: np.ndarray  # [N, C, 2*pad + H, 2*pad + W]
    h: np.ndarray  # [N, C, P, Q]
    stride: int
    pad: int
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [N, C, H, W]
    dw: np.ndarray  # [C, R, S]
    db: np.ndarray  # [C]
    dv: np.ndarray  # [F, C]
    da: np.ndarray  # [F]


def forward(x, w, b, v, a, *, stride=1, pad=0):
    """Return (y, cache).

    x: [N, C, H, W]; w: [C, R, S]; b: [C]; v: [F, C]; a: [F]; y: [N, F, P, Q].
    Raises ValueError for another shape or kind.
    """
    x, w, b, v, a = _expect(x, w, b, v, a)
    dtype = np.result_type(x, w, b, v, a)
    N, C, H, W = x.shape
    _, R, S = w.shape
    _at_least_one(stride=stride)
    P = (H + 2 * pad - R) // stride + 1
    Q = (W + 2 * pad - S) // stride + 1
    _at_least_one(P=P, Q=Q)
    x_padded = _pad(x, (pad, pad), (pad, pad))
    total = np.zeros((N, C, P, Q), dtype=dtype)
    for r in range(R):
        for s in range(S):
            total += w[:, r, s, None, None] * x_padded[:, :, r : r + P * stride : stride, s : s + Q * stride : stride]
    h = total + b[:, None, None]
    y = np.einsum("ncij,fc->nfij", h, v, optimize=True) + a[:, None, None]
    dtypes = (x.dtype, w.dtype, b.dtype, v.dtype, a.dtype)
    return y, Cache(w, v, x_padded, h, stride, pad, dtypes)


def backward(dy, cache, out=None):
    """Return Gradients(dx, dw, db, dv, da).

        dh[n, c, p, q] = sum[f](v[f, c]*dy[n, f, p, q])
        dx[n, c, i, j] = sum[p, q, r, s](delta(i, p*stride + r - pad)*delta(j, q*stride + s - pad)*w[c, r, s]*
                         dh[n, c, p, q])
        dw[c, r, s]    = sum[n, p, q](dh[n, c, p, q]*padded(x)[n, c, p*stride + r - pad, q*stride + s - pad])
        db[c]          = sum[n, p, q](dh[n, c, p, q])
        dv[f, c]       = sum[n, i, j](dy[n, f, i, j]*h[n, c, i, j])
        da[f]          = sum[n, i, j](dy[n, f, i, j])

    dy: [N, F, P, Q].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    w, v, x_padded, h, stride, pad, dtypes = cache
    N = x_padded.shape[0]
    F = v.shape[0]
    _, _, P, Q = h.shape
    _, R, S = w.shape
    dy = _cotangent("dy", dy, (N, F, P, Q), np.result_type(*dtypes))
    dh = np.einsum("nfpq,fc->ncpq", dy, v, optimize=True)
    dx_padded = np.zeros(x_padded.shape, dtype=dy.dtype)
    for r in range(R):
        for s in range(S):
            dx_padded[:, :, r : r + P * stride : stride, s : s + Q * stride : stride] += w[:, r, s, None, None] * dh
    dx = _pad(dx_padded, (-pad, -pad), (-pad, -pad))
    dw = np.empty(w.shape, dtype=dy.dtype)
    for r in range(R):
        for s in range(S):
            term = x_padded[:, :, r : r + P * stride : stride, s : s + Q * stride : stride] * dh
            dw[:, r, s] = term.sum(axis=(0, 2, 3))
    db = dh.sum(axis=(0, 2, 3))
    dv = np.einsum("nfij,ncij->fc", dy, h, optimize=True)
    da = dy.sum(axis=(0, 2, 3))
    return _into(out, Gradients(*map(np.asarray, (dx, dw, db, dv, da), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("N", "C", "H", "W")),
    "w": ("Real", ("C", "R", "S")),
    "b": ("Real", ("C",)),
    "v": ("Real", ("F", "C")),
    "a": ("Real", ("F",)),
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
