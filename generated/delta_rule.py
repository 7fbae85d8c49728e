"""Linear attention whose memory is corrected: what it says for a key moves towards the key's value by beta.

    s_factor[t, d] = beta[t]*k[t, d]
    old[t, e]      = sum[d](k[t, d]*s[t - 1, d, e])
    diff[t, e]     = v[t, e] - old[t, e]
    s[-1, d, e]    = 0; s[t, d, e] = diff[t, e]*s_factor[t, d] + s[t - 1, d, e]
    y[t, e]        = sum[d](q[t, d]*s[t, d, e])

Source: Schlag, Irie & Schmidhuber, "Linear Transformers Are Secretly Fast Weight Programmers", 2021.
"""

# Made by derive 0.1.0 from sequence.layer. Do not edit: change the layer file and run
# `derive generate delta_rule`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    q: np.ndarray  # [T, D]
    k: np.ndarray  # [T, D]
    beta: np.ndarray  # [T]
    s_factor: np.ndarray  # [T, D]
    diff: np.ndarray  # [T, E]
    s: np.ndarray  # [T + 1, D, E]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dq: np.ndarray  # [T, D]
    dk: np.ndarray  # [T, D]
    dv: np.ndarray  # [T, E]
    dbeta: np.ndarray  # [T]


def forward(q, k, v, beta):
    """Return (y, cache).

    q, k: [T, D]; v, y: [T, E]; beta: [T] between 0 and 1.
    Raises ValueError for another shape or kind.
    """
    q, k, v, beta = _expect(q, k, v, beta)
    dtype = np.result_type(q, k, v, beta)
    T, D = q.shape
    E = v.shape[1]
    s_factor = beta[:, None] * k
    diff = np.empty(v.shape, dtype=dtype)
    s = np.empty((T + 1, D, E), dtype=dtype)
    s[0] = 0
    for t in range(T):
        old = k[t] @ s[t]
        diff[t] = v[t] - old
        s[t + 1] = s[t] + s_factor[t, :, None] * diff[t]
    y = np.einsum("tde,td->te", s[1:], q)
    dtypes = (q.dtype, k.dtype, v.dtype, beta.dtype)
    return y, Cache(q, k, beta, s_factor, diff, s, dtypes)


def backward(dy, cache, out=None):
    """Return Gradients(dq, dk, dv, dbeta).

        ds[t, d, e]      = dy[t, e]*q[t, d] + ds_next[t + 1, d, e]
        dv[t, e]         = sum[d](s_factor[t, d]*ds[t, d, e])
        ds_next[T, d, e] = 0; ds_next[t, d, e] = ds[t, d, e] - dv[t, e]*k[t, d]
        ds_factor[t, d]  = sum[e](diff[t, e]*ds[t, d, e])
        dq[t, d]         = sum[e](dy[t, e]*s[t, d, e])
        dk[t, d]         = beta[t]*ds_factor[t, d] - sum[e](dv[t, e]*s[t - 1, d, e])
        dbeta[t]         = sum[d](ds_factor[t, d]*k[t, d])

    dy: [T, E].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    q, k, beta, s_factor, diff, s, dtypes = cache
    T, D = q.shape
    E = diff.shape[1]
    dy = _cotangent("dy", dy, diff.shape, np.result_type(*dtypes))
    ds = np.empty((T, D, E), dtype=dy.dtype)
    dv = np.empty(diff.shape, dtype=dy.dtype)
    ds_next = np.zeros((D, E), dtype=dy.dtype)
    for t in reversed(range(T)):
        ds_t = ds_next + dy[t] * q[t, :, None]
        ds[t] = ds_t
        dv[t] = s_factor[t] @ ds_t
        ds_next = ds_t - k[t, :, None] * dv[t]
    ds_factor = np.einsum("tde,te->td", ds, diff)
    dq = np.einsum("tde,te->td", s[1:], dy)
    dk = beta[:, None] * ds_factor - np.einsum("tde,te->td", s[:-1], dv)
    dbeta = (k * ds_factor).sum(axis=-1)
    return _into(out, Gradients(*map(np.asarray, (dq, dk, dv, dbeta), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "q": ("Real", ("T", "D")),
    "k": ("Real", ("T", "D")),
    "v": ("Real", ("T", "E")),
    "beta": ("Unit", ("T",)),
}
_KINDS = {"Real": "f", "Unit": "f"}


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
