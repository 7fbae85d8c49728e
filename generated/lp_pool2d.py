"""The p-norm of each k by k window of an image, between the sum of magnitudes and their maximum.

    sum_x[n, c, i, j] = sum[r: k, s: k](abs(x[n, c, i*stride + r, j*stride + s])**p)
    y[n, c, i, j]     = sum_x[n, c, i, j]**(1/p)

Memory beside arguments, results and cache: forward holds up to about 2*N*C*I*J elements, backward 5*N*C*I*J.

Source: Sermanet, Chintala & LeCun, "Convolutional Neural Networks Applied to House Numbers Digit
Classification", 2012.
"""

# Made by derive 0.1.0 from pooling.layer. Do not edit: change the layer file and run
# `derive generate lp_pool2d`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [N, C, H, W]
    sum_x: np.ndarray  # [N, C, I, J]
    p: float
    k: int
    stride: int


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [N, C, H, W]


def forward(x, *, p=2.0, k=2, stride=2):
    """Return (y, cache).

    x: [N, C, H, W]; y: [N, C, I, J].
    Raises ValueError for another shape or kind.
    """
    x = _expect(x)
    N, C, H, W = x.shape
    _at_least_one(stride=stride, k=k)
    I = (H - k) // stride + 1
    J = (W - k) // stride + 1
    _at_least_one(I=I, J=J)
    sum_x = np.zeros((N, C, I, J), dtype=x.dtype)
    for r in range(k):
        for s in range(k):
            sum_x += np.abs(x[:, :, r : r + I * stride : stride, s : s + J * stride : stride]) ** p
    y = sum_x ** (1 / p)
    return y, Cache(x, sum_x, p, k, stride)


def backward(dy, cache, out=None):
    """Return Gradients(dx).

        dsum_x[n, c, i, j] = dy[n, c, i, j]*sum_x[n, c, i, j]**(1/p - 1)/p
        dx[n, c, i, j]     = p*sum[l, m, r: k, s: k](delta(i, l*stride + r)*delta(j, m*stride + s)*
                             dsum_x[n, c, l, m]*sign(x[n, c, l*stride + r, m*stride + s])*
                             abs(x[n, c, l*stride + r, m*stride + s])**(p - 1))

    dy: [N, C, I, J].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x, sum_x, p, k, stride = cache
    _, _, I, J = sum_x.shape
    dy = _cotangent("dy", dy, sum_x.shape, x.dtype)
    dsum_x = dy * sum_x ** (1 / p - 1) / p
    term = p * dsum_x
    dx = np.zeros(x.shape, dtype=dy.dtype)
    for r in range(k):
        for s in range(k):
            dx[:, :, r : r + I * stride : stride, s : s + J * stride : stride] += (
                term
                * np.abs(x[:, :, r : r + I * stride : stride, s : s + J * stride : stride]) ** (p - 1)
                * np.sign(x[:, :, r : r + I * stride : stride, s : s + J * stride : stride])
            )
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
