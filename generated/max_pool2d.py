"""Maximum of each k by k window of an image; the border counts as minus infinity, equal maxima share the
gradient.

    y[n, c, p, q] = max[r: k, s: k](padded(x, -inf)[n, c, p*stride + r - pad, q*stride + s - pad])

Memory beside arguments, results and cache: forward holds nothing, backward up to about 4*N*C*P*Q +
N*C*(H + 2*pad)*(W + 2*pad) elements.

Source: Ranzato, Huang, Boureau & LeCun, "Unsupervised Learning of Invariant Feature Hierarchies with
Applications to Object Recognition", 2007.
"""

# Made by derive 0.1.0 from pooling.layer. Do not edit: change the layer file and run
# `derive generate max_pool2d`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x_padded: np.ndarray  # [N, C, 2*pad + H, 2*pad + W]
    y: np.ndarray  # [N, C, P, Q]
    k: int
    stride: int
    pad: int


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [N, C, H, W]


def forward(x, *, k=2, stride=2, pad=0):
    """Return (y, cache).

    x: [N, C, H, W]; y: [N, C, P, Q].
    Raises ValueError for another shape or kind or an empty axis.
    """
    x = _expect(x)
    N, C, H, W = x.shape
    _at_least_one(stride=stride, k=k)
    P = (H + 2 * pad - k) // stride + 1
    Q = (W + 2 * pad - k) // stride + 1
    _at_least_one(P=P, Q=Q)
    x_padded = _pad(x, (pad, pad), (pad, pad), fill=-np.inf)
    y = np.full((N, C, P, Q), -np.inf, dtype=x.dtype)
    for r in range(k):
        for s in range(k):
            np.maximum(y, x_padded[:, :, r : r + P * stride : stride, s : s + Q * stride : stride], out=y)
    return y, Cache(x_padded, y, k, stride, pad)


def backward(dy, cache, out=None):
    """Return Gradients(dx).

        dx[n, c, i, j] = sum[p, q, r: k, s: k](delta(i, p*stride + r - pad)*delta(j, q*stride + s - pad)*
                         dy[n, c, p, q]*
                         (padded(x, -inf)[n, c, p*stride + r - pad, q*stride + s - pad] == y[n, c, p, q])
                         /sum[l: k, t: k](padded(x, -inf)[n, c, p*stride + l - pad, q*stride + t - pad]
                         == y[n, c, p, q]))

    dy: [N, C, P, Q].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x_padded, y, k, stride, pad = cache
    _, _, P, Q = y.shape
    dy = _cotangent("dy", dy, y.shape, x_padded.dtype)
    ties = np.zeros(y.shape, dtype=dy.dtype)
    for l in range(k):
        for t in range(k):
            ties += x_padded[:, :, l : l + P * stride : stride, t : t + Q * stride : stride] == y
    term = dy / ties
    dx_padded = np.zeros(x_padded.shape, dtype=dy.dtype)
    for r in range(k):
        for s in range(k):
            term2 = x_padded[:, :, r : r + P * stride : stride, s : s + Q * stride : stride] == y
            dx_padded[:, :, r : r + P * stride : stride, s : s + Q * stride : stride] += term * term2
    dx = _pad(dx_padded, (-pad, -pad), (-pad, -pad))
    return _into(out, Gradients(dx))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("N", "C", "H", "W")),
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
    return arrays[0]


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
