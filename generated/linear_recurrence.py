"""A first-order linear recurrence with a factor of each step: h[t] = a[t] * h[t-1] + x[t].

    h[-1, n] = h0[n]; h[t, n] = a[t, n]*h[t - 1, n] + x[t, n]

Source: Martin & Cundy, "Parallelizing Linear Recurrent Neural Nets Over Sequence Length", 2018.
"""

# Made by derive 0.1.0 from sequence.layer. Do not edit: change the layer file and run
# `derive generate linear_recurrence`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    a: np.ndarray  # [T, N]
    h: np.ndarray  # [T + 1, N]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [T, N]
    da: np.ndarray  # [T, N]
    dh0: np.ndarray  # [N]


def forward(x, a, h0):
    """Return (h, cache).

    x, a, h: [T, N]; h0: [N].
    Raises ValueError for another shape or kind.
    """
    x, a, h0 = _expect(x, a, h0)
    dtype = np.result_type(x, a, h0)
    T, N = x.shape
    h = np.empty((T + 1, N), dtype=dtype)
    h[0] = h0
    for t in range(T):
        h[t + 1] = x[t] + a[t] * h[t]
    dtypes = (x.dtype, a.dtype, h0.dtype)
    return h[1:], Cache(a, h, dtypes)


def backward(dh, cache, out=None):
    """Return Gradients(dx, da, dh0).

        dx[t, n]      = dh[t, n] + dh_next[t + 1, n]
        dh_next[T, n] = 0; dh_next[t, n] = a[t, n]*dx[t, n]
        da[t, n]      = dx[t, n]*h[t - 1, n]
        dh0[n]        = dh_next[0, n]

    dh: [T, N].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    a, h, dtypes = cache
    T, N = a.shape
    dh = _cotangent("dh", dh, a.shape, np.result_type(*dtypes))
    dx = np.empty(a.shape, dtype=dh.dtype)
    dh_next = np.zeros((N,), dtype=dh.dtype)
    for t in reversed(range(T)):
        dx[t] = dh[t] + dh_next
        dh_next = a[t] * dx[t]
    da = h[:-1] * dx
    dh0 = dh_next
    return _into(out, Gradients(*map(np.asarray, (dx, da, dh0), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("T", "N")),
    "a": ("Real", ("T", "N")),
    "h0": ("Real", ("N",)),
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
