"""Causal attention with the kernel of elu(x) + 1, as a recurrence over the sums of what has been seen.

    exp_q[t, d] = exp(q[t, d])
    fq[t, d]    = where(q[t, d] > 0, q[t, d] + 1, exp_q[t, d])
    exp_k[t, d] = exp(k[t, d])
    fk[t, d]    = where(k[t, d] > 0, k[t, d] + 1, exp_k[t, d])
    s[-1, d, e] = 0; s[t, d, e] = fk[t, d]*v[t, e] + s[t - 1, d, e]
    z[-1, d]    = 0; z[t, d] = fk[t, d] + z[t - 1, d]
    fq_dot_z[t] = sum[d](fq[t, d]*z[t, d])
    y[t, e]     = sum[d](fq[t, d]*s[t, d, e])/fq_dot_z[t]

Source: Katharopoulos, Vyas, Pappas & Fleuret, "Transformers are RNNs: Fast Autoregressive Transformers with
Linear Attention", 2020.
"""

# Made by derive 0.1.0 from sequence.layer. Do not edit: change the layer file and run
# `derive generate linear_attention_scan`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    q: np.ndarray  # [T, D]
    k: np.ndarray  # [T, D]
    v: np.ndarray  # [T, E]
    exp_q: np.ndarray  # [T, D]
    fq: np.ndarray  # [T, D]
    exp_k: np.ndarray  # [T, D]
    fk: np.ndarray  # [T, D]
    s: np.ndarray  # [T, D, E]
    z: np.ndarray  # [T, D]
    fq_dot_z: np.ndarray  # [T, 1]
    y: np.ndarray  # [T, E]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dq: np.ndarray  # [T, D]
    dk: np.ndarray  # [T, D]
    dv: np.ndarray  # [T, E]


def forward(q, k, v):
    """Return (y, cache).

    q, k: [T, D]; v, y: [T, E].
    Raises ValueError for another shape or kind.
    """
    q, k, v = _expect(q, k, v)
    exp_q = np.exp(np.minimum(q, 0))
    fq = np.where(q > 0, 1 + q, exp_q)
    exp_k = np.exp(np.minimum(k, 0))
    fk = np.where(k > 0, 1 + k, exp_k)
    s = np.cumsum(v[:, None, :] * fk[:, :, None], axis=0)
    z = np.cumsum(fk, axis=0)
    fq_dot_z = (fq * z).sum(axis=-1, keepdims=True)
    y = np.einsum("tde,td->te", s, fq) / fq_dot_z
    dtypes = (q.dtype, k.dtype, v.dtype)
    return y, Cache(q, k, v, exp_q, fq, exp_k, fk, s, z, fq_dot_z, y, dtypes)


def backward(dy, cache, out=None):
    """Return Gradients(dq, dk, dv).

        dfq_dot_s[t, e] = dy[t, e]/fq_dot_z[t]
        dz_in[t, d]     = fq[t, d]*sum[e](dfq_dot_s[t, e]*y[t, e])
        dz[T, d]        = 0; dz[t, d] = dz[t + 1, d] - dz_in[t, d]
        ds[T, d, e]     = 0; ds[t, d, e] = dfq_dot_s[t, e]*fq[t, d] + ds[t + 1, d, e]
        dfk[t, d]       = dz[t, d] + sum[e](v[t, e]*ds[t, d, e])
        dfq[t, d]       = (sum[e](dy[t, e]*s[t, d, e]) - z[t, d]*sum[e](dy[t, e]*y[t, e]))/fq_dot_z[t]
        dq[t, d]        = where(q[t, d] > 0, 1, exp_q[t, d])*dfq[t, d]
        dk[t, d]        = where(k[t, d] > 0, 1, exp_k[t, d])*dfk[t, d]
        dv[t, e]        = sum[d](fk[t, d]*ds[t, d, e])

    dy: [T, E].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    q, k, v, exp_q, fq, exp_k, fk, s, z, fq_dot_z, y, dtypes = cache
    dy = _cotangent("dy", dy, v.shape, np.result_type(*dtypes))
    dfq_dot_s = dy / fq_dot_z
    dz_in = (y * dfq_dot_s).sum(axis=-1, keepdims=True) * fq
    dz = np.cumsum((-dz_in)[::-1], axis=0)[::-1]
    ds = np.cumsum((fq[:, :, None] * dfq_dot_s[:, None, :])[::-1], axis=0)[::-1]
    dfk = dz + np.einsum("tde,te->td", ds, v)
    dfq = (np.einsum("tde,te->td", s, dy) - (dy * y).sum(axis=-1, keepdims=True) * z) / fq_dot_z
    dq = dfq * np.where(q > 0, 1, exp_q)
    dk = dfk * np.where(k > 0, 1, exp_k)
    dv = np.einsum("tde,td->te", ds, fk)
    return _into(out, Gradients(*map(np.asarray, (dq, dk, dv), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "q": ("Real", ("T", "D")),
    "k": ("Real", ("T", "D")),
    "v": ("Real", ("T", "E")),
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
