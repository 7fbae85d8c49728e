"""State-space model with K diagonal states a channel whose step, input and output depend on the input.

    exp_pre_s[t, d, k] = exp(a[d, k]*delta[t, d])
    s[-1, d, k]        = 0; s[t, d, k] = exp_pre_s[t, d, k]*s[t - 1, d, k] + b[t, k]*delta[t, d]*u[t, d]
    y[t, d]            = skip[d]*u[t, d] + sum[k](c[t, k]*s[t, d, k])

Source: Gu & Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023.
"""

# Made by derive 0.1.0 from sequence.layer. Do not edit: change the layer file and run
# `derive generate selective_scan`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    u: np.ndarray  # [T, D]
    delta: np.ndarray  # [T, D]
    a: np.ndarray  # [D, K]
    b: np.ndarray  # [T, K]
    c: np.ndarray  # [T, K]
    skip: np.ndarray  # [D]
    exp_pre_s: np.ndarray  # [T, D, K]
    s: np.ndarray  # [T + 1, D, K]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    du: np.ndarray  # [T, D]
    ddelta: np.ndarray  # [T, D]
    da: np.ndarray  # [D, K]
    db: np.ndarray  # [T, K]
    dc: np.ndarray  # [T, K]
    dskip: np.ndarray  # [D]


def forward(u, delta, a, b, c, skip):
    """Return (y, cache).

    u, y: [T, D]; delta: [T, D] above 0; a: [D, K]; b, c: [T, K]; skip: [D].
    Raises ValueError for another shape or kind.
    """
    u, delta, a, b, c, skip = _expect(u, delta, a, b, c, skip)
    dtype = np.result_type(u, delta, a, b, c, skip)
    T, D = u.shape
    K = a.shape[1]
    exp_pre_s = np.exp(delta[:, :, None] * a)
    s = np.empty((T + 1, D, K), dtype=dtype)
    s[0] = 0
    for t in range(T):
        s[t + 1] = (u[t] * delta[t])[:, None] * b[t] + exp_pre_s[t] * s[t]
    y = skip * u + np.einsum("tdk,tk->td", s[1:], c)
    dtypes = (u.dtype, delta.dtype, a.dtype, b.dtype, c.dtype, skip.dtype)
    return y, Cache(u, delta, a, b, c, skip, exp_pre_s, s, dtypes)


def backward(dy, cache, out=None):
    """Return Gradients(du, ddelta, da, db, dc, dskip).

        ds[t, d, k]      = c[t, k]*dy[t, d] + ds_next[t + 1, d, k]
        ds_next[T, d, k] = 0; ds_next[t, d, k] = ds[t, d, k]*exp_pre_s[t, d, k]
        du[t, d]         = skip[d]*dy[t, d] + delta[t, d]*sum[k](b[t, k]*ds[t, d, k])
        ddelta[t, d]     = u[t, d]*sum[k](b[t, k]*ds[t, d, k]) + sum[k](a[d, k]*ds_next[t, d, k]*s[t - 1, d, k])
        da[d, k]         = sum[t](delta[t, d]*ds_next[t, d, k]*s[t - 1, d, k])
        db[t, k]         = sum[d](delta[t, d]*u[t, d]*ds[t, d, k])
        dc[t, k]         = sum[d](dy[t, d]*s[t, d, k])
        dskip[d]         = sum[t](dy[t, d]*u[t, d])

    dy: [T, D].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    u, delta, a, b, c, skip, exp_pre_s, s, dtypes = cache
    T = u.shape[0]
    dy = _cotangent("dy", dy, u.shape, np.result_type(*dtypes))
    ds = np.empty(exp_pre_s.shape, dtype=dy.dtype)
    ds_next = np.empty(exp_pre_s.shape, dtype=dy.dtype)
    ds_next_t = np.zeros(a.shape, dtype=dy.dtype)
    for t in reversed(range(T)):
        ds[t] = ds_next_t + dy[t, :, None] * c[t]
        ds_next_t = exp_pre_s[t] * ds[t]
        ds_next[t] = ds_next_t
    part = np.einsum("tdk,tk->td", ds, b)
    du = skip * dy + delta * part
    ddelta = u * part + np.einsum("tdk,dk->td", s[:-1] * ds_next, a)
    da = (delta[:, :, None] * s[:-1] * ds_next).sum(axis=0)
    db = np.einsum("tdk,td->tk", ds, u * delta)
    dc = np.einsum("tdk,td->tk", s[1:], dy)
    dskip = (dy * u).sum(axis=0)
    return _into(out, Gradients(*map(np.asarray, (du, ddelta, da, db, dc, dskip), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "u": ("Real", ("T", "D")),
    "delta": ("Positive", ("T", "D")),
    "a": ("Real", ("D", "K")),
    "b": ("Real", ("T", "K")),
    "c": ("Real", ("T", "K")),
    "skip": ("Real", ("D",)),
}
_KINDS = {"Real": "f", "Positive": "f"}


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
