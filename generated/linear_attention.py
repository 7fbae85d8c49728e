"""Attention with the kernel of elu(x) + 1 in place of the exponential: linear in the number of keys.

    exp_q[..., t, d] = exp(q[..., t, d])
    fq[..., t, d]    = where(q[..., t, d] > 0, q[..., t, d] + 1, exp_q[..., t, d])
    exp_k[..., s, d] = exp(k[..., s, d])
    fk[..., s, d]    = where(k[..., s, d] > 0, k[..., s, d] + 1, exp_k[..., s, d])
    kv[..., d, e]    = sum[s](fk[..., s, d]*v[..., s, e])
    sum_fk[..., d]   = sum[s](fk[..., s, d])
    z[..., t]        = sum[d](sum_fk[..., d]*fq[..., t, d])
    y[..., t, e]     = sum[d](fq[..., t, d]*kv[..., d, e])/z[..., t]

Source: Katharopoulos, Vyas, Pappas & Fleuret, "Transformers are RNNs: Fast Autoregressive Transformers with
Linear Attention", 2020.
"""

# Made by derive 0.1.0 from attention.layer. Do not edit: change the layer file and run
# `derive generate linear_attention`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    q: np.ndarray  # [..., T, D]
    k: np.ndarray  # [..., S, D]
    v: np.ndarray  # [..., S, E]
    exp_q: np.ndarray  # [..., T, D]
    fq: np.ndarray  # [..., T, D]
    exp_k: np.ndarray  # [..., S, D]
    fk: np.ndarray  # [..., S, D]
    kv: np.ndarray  # [..., D, E]
    sum_fk: np.ndarray  # [..., D]
    z: np.ndarray  # [..., T, 1]
    y: np.ndarray  # [..., T, E]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dq: np.ndarray  # [..., T, D]
    dk: np.ndarray  # [..., S, D]
    dv: np.ndarray  # [..., S, E]


def forward(q, k, v):
    """Return (y, cache).

    q: [..., T, D]; k: [..., S, D]; v: [..., S, E]; y: [..., T, E].
    Raises ValueError for another shape or kind.
    """
    q, k, v = _expect(q, k, v)
    exp_q = np.exp(np.minimum(q, 0))
    fq = np.where(q > 0, 1 + q, exp_q)
    exp_k = np.exp(np.minimum(k, 0))
    fk = np.where(k > 0, 1 + k, exp_k)
    kv = np.swapaxes(fk, -1, -2) @ v
    sum_fk = fk.sum(axis=-2)
    z = np.einsum("...td,...d->...t", fq, sum_fk)[..., None]
    y = fq @ kv / z
    dtypes = (q.dtype, k.dtype, v.dtype)
    return y, Cache(q, k, v, exp_q, fq, exp_k, fk, kv, sum_fk, z, y, dtypes)


def backward(dy, cache, out=None):
    """Return Gradients(dq, dk, dv).

        dfq_dot_kv[..., t, e] = dy[..., t, e]/z[..., t]
        dz[..., t]            = -sum[e](dfq_dot_kv[..., t, e]*y[..., t, e])
        dkv[..., d, e]        = sum[t](dfq_dot_kv[..., t, e]*fq[..., t, d])
        dfk[..., s, d]        = sum[e](dkv[..., d, e]*v[..., s, e]) + sum[t](dz[..., t]*fq[..., t, d])
        dfq[..., t, d]        = dz[..., t]*sum_fk[..., d] + sum[e](dfq_dot_kv[..., t, e]*kv[..., d, e])
        dq[..., t, d]         = where(q[..., t, d] > 0, 1, exp_q[..., t, d])*dfq[..., t, d]
        dk[..., s, d]         = where(k[..., s, d] > 0, 1, exp_k[..., s, d])*dfk[..., s, d]
        dv[..., s, e]         = sum[d](dkv[..., d, e]*fk[..., s, d])

    dy: [..., T, E].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    q, k, v, exp_q, fq, exp_k, fk, kv, sum_fk, z, y, dtypes = cache
    dy = _cotangent("dy", dy, y.shape, np.result_type(*dtypes))
    dfq_dot_kv = dy / z
    dz = -(y * dfq_dot_kv).sum(axis=-1)
    dkv = np.swapaxes(fq, -1, -2) @ dfq_dot_kv
    dfk = v @ np.swapaxes(dkv, -1, -2) + np.einsum("...td,...t->...d", fq, dz)[..., None, :]
    dfq = dfq_dot_kv @ np.swapaxes(kv, -1, -2) + sum_fk[..., None, :] * dz[..., None]
    dq = dfq * np.where(q > 0, 1, exp_q)
    dk = dfk * np.where(k > 0, 1, exp_k)
    dv = fk @ dkv
    return _into(out, Gradients(*map(np.asarray, (dq, dk, dv), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "q": ("Real", ("...", "T", "D")),
    "k": ("Real", ("...", "S", "D")),
    "v": ("Real", ("...", "S", "E")),
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
        shape, batch = array.shape, array.ndim - len(axes) + 1
        if axes[:1] == ("...",) and batch >= 0:
            shape = (shape[:batch], *shape[batch:])
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
